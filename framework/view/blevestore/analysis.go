package blevestore

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/token/edgengram"
	"github.com/blevesearch/bleve/v2/analysis/token/lowercase"
	"github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
	"github.com/blevesearch/snowballstem/french"
	"github.com/blevesearch/snowballstem/german"
	"github.com/blevesearch/snowballstem/spanish"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// analysed is how a kind of field makes terms of a text: of a document's, and of a
// query's. Nil: the text is the term.
type analysed struct{ indexed, asked analysis.Analyzer }

// words splits a text, of a document or a query, and lowers what it finds.
var words = analyzer()

var analysisOf = map[view.FieldKind]analysed{
	view.Text:    {words, words},
	view.Prefix:  {analyzer(edgengram.NewEdgeNgramFilter(edgengram.FRONT, 1, view.MaxLead)), analyzer(lead{})},
	view.English: both(analyzer(possessive{}, stem(english.Stem))),
	view.German:  both(analyzer(stem(german.Stem))),
	view.French:  both(analyzer(stem(french.Stem))),
	view.Spanish: both(analyzer(stem(spanish.Stem))),
}

func both(a analysis.Analyzer) analysed { return analysed{a, a} }

func analyzer(more ...analysis.TokenFilter) analysis.Analyzer {
	return &analysis.DefaultAnalyzer{Tokenizer: unicode.NewUnicodeTokenizer(),
		TokenFilters: append([]analysis.TokenFilter{lowercase.NewLowerCaseFilter()}, more...)}
}

// lead cuts words to their first letters.
type lead struct{}

func (lead) Filter(in analysis.TokenStream) analysis.TokenStream {
	for _, t := range in {
		n := 0
		for i := range string(t.Term) {
			if n++; n > view.MaxLead {
				t.Term = t.Term[:i]
				break
			}
		}
	}
	return in
}

// possessive takes the English 's away.
type possessive struct{}

func (possessive) Filter(in analysis.TokenStream) analysis.TokenStream {
	for _, t := range in {
		if rest, ok := strings.CutSuffix(string(t.Term), "s"); ok {
			if r, size := utf8.DecodeLastRuneInString(rest); r == '\'' || r == '’' || r == '＇' {
				t.Term = []byte(rest[:len(rest)-size])
			}
		}
	}
	return in
}

// stem leaves the stems of words.
type stem func(*snowballstem.Env) bool

func (s stem) Filter(in analysis.TokenStream) analysis.TokenStream {
	for _, t := range in {
		env := snowballstem.NewEnv(string(t.Term))
		s(env)
		t.Term = []byte(env.Current())
	}
	return in
}

// termsOf returns the terms of a query's text, each once.
func termsOf(a analysis.Analyzer, text string) []string {
	tokens := a.Analyze([]byte(strings.ToValidUTF8(text, " ")))
	terms := make([]string, 0, len(tokens))
	for _, t := range tokens {
		terms = append(terms, string(t.Term))
	}
	slices.Sort(terms)
	return slices.Compact(terms)
}
