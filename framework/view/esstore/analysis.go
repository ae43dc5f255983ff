package esstore

import "github.com/drivetrain-go/drivetrain/framework/view"

// words is the name of the analyzer that splits a text and lowers what it finds, which
// every index has.
const words = "words"

// analysis is an analyzer of texts.
type analysis struct {
	Type      string   `json:"type"`
	Tokenizer string   `json:"tokenizer"`
	Filter    []string `json:"filter"`
}

// filter is a step of an analyzer.
type filter struct {
	Type     string `json:"type"`
	Language string `json:"language,omitempty"`
	Least    text   `json:"min_gram,omitempty"`
	Most     text   `json:"max_gram,omitempty"`
	Length   text   `json:"length,omitempty"`
}

// filters are those that Elasticsearch does not have under these names.
var filters = map[string]filter{
	"leads":      {Type: "edge_ngram", Least: "1", Most: number(view.MaxLead)},
	"lead":       {Type: "truncate", Length: number(view.MaxLead)},
	"possessive": {Type: "stemmer", Language: "possessive_english"},
	"english":    {Type: "snowball", Language: "English"},
	"german":     {Type: "snowball", Language: "German"},
	"french":     {Type: "snowball", Language: "French"},
	"spanish":    {Type: "snowball", Language: "Spanish"},
}

// steps are what follows the splitting and lowering of a text, by analyzer.
var steps = map[string][]string{
	words:           nil,
	"words_leads":   {"leads"},
	"words_lead":    {"lead"},
	"words_english": {"possessive", "english"},
	"words_german":  {"german"},
	"words_french":  {"french"},
	"words_spanish": {"spanish"},
}

// propertyOf says how a field of a kind is mapped.
func propertyOf(kind view.FieldKind) property {
	switch kind {
	case view.Keyword, view.Caseless:
		return property{Type: "keyword", MaxLength: maxKeyword}
	case view.Number:
		return property{Type: "double"}
	case view.Time:
		return property{Type: "date"}
	case view.Text:
		return property{Type: "text", Analyzer: words}
	case view.Prefix:
		return property{Type: "text", Analyzer: "words_leads", Asked: "words_lead"}
	}
	return property{Type: "text", Analyzer: "words_" + kind.String()}
}

// analyses returns the analyzers that the fields need, and their filters.
func analyses(fields view.Fields) (analyzers map[string]analysis, own map[string]filter) {
	needed := []string{words}
	for _, kind := range fields {
		p := propertyOf(kind)
		needed = append(needed, p.Analyzer, p.Asked)
	}
	analyzers = make(map[string]analysis)
	for _, name := range needed {
		if name == "" {
			continue
		}
		analyzers[name] = analysis{Type: "custom", Tokenizer: "standard", Filter: append([]string{"lowercase"}, steps[name]...)}
		for _, step := range steps[name] {
			if own == nil {
				own = make(map[string]filter)
			}
			own[step] = filters[step]
		}
	}
	return analyzers, own
}
