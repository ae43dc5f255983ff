package api

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep the arrays and objects of a body are nested.
const maxDepth = 64

// parseJSON reads one JSON value, as encoding/json would into an any, but
// refuses what that lets pass: a name given twice, bytes or escapes that are no
// UTF-8, and nesting beyond maxDepth. Its error is a problem that says where.
func parseJSON(data []byte) (any, error) {
	p := parser{data: data}
	p.space()
	v := p.value()
	p.space()
	if p.fault == "" && p.at < len(data) {
		p.fail("want the end, for the body is one JSON value")
	}
	if p.fault != "" {
		return nil, p.problem()
	}
	return v, nil
}

// parser stops at its first fault: at is then its place.
type parser struct {
	data  []byte
	at    int
	depth int
	fault string
}

func (p *parser) fail(format string, args ...any) any {
	if p.fault == "" {
		p.fault = fmt.Sprintf(format, args...)
	}
	return nil
}

func (p *parser) problem() *problem {
	line, start := 1, 0
	for i, c := range p.data[:min(p.at, len(p.data))] {
		if c == '\n' {
			line, start = line+1, i+1
		}
	}
	return malformed.because("the body is no JSON: line %d, column %d: %s", line, p.at-start+1, p.fault)
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value() any {
	switch c := p.peek(); {
	case c == '{':
		return p.nested(p.object)
	case c == '[':
		return p.nested(p.array)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 't':
		return p.word("true", true)
	case c == 'f':
		return p.word("false", false)
	case c == 'n':
		return p.word("null", nil)
	case p.at >= len(p.data):
		return p.fail("it ends where a value is to come")
	default:
		return p.fail("want a value, found %s", p.found())
	}
}

func (p *parser) found() string {
	if p.at >= len(p.data) {
		return "the end"
	}
	r, _ := utf8.DecodeRune(p.data[p.at:])
	return strconv.QuoteRune(r)
}

func (p *parser) word(w string, v any) any {
	if len(p.data)-p.at < len(w) || string(p.data[p.at:p.at+len(w)]) != w {
		return p.fail("want %s", w)
	}
	p.at += len(w)
	return v
}

func (p *parser) nested(f func() any) any {
	if p.depth++; p.depth > maxDepth {
		return p.fail("more than %d arrays and objects within one another", maxDepth)
	}
	p.at++
	v := f()
	p.depth--
	return v
}

func (p *parser) object() any {
	m := make(map[string]any, 4)
	if p.space(); p.take('}') {
		return m
	}
	for p.fault == "" {
		p.space()
		if p.member(m); p.fault != "" {
			return nil
		}
		if p.space(); p.take('}') {
			return m
		}
		if !p.take(',') {
			return p.fail("want a comma or }, found %s", p.found())
		}
	}
	return nil
}

func (p *parser) member(m map[string]any) {
	at := p.at
	if p.peek() != '"' {
		p.fail("want a name in double quotes, found %s", p.found())
		return
	}
	name := p.text()
	if _, twice := m[name]; twice && p.fault == "" {
		p.at = at
		p.fail("%.80q is given twice", name)
		return
	}
	if p.space(); p.fault == "" && !p.take(':') {
		p.fail("want a colon, found %s", p.found())
		return
	}
	p.space()
	m[name] = p.value()
}

func (p *parser) array() any {
	list := make([]any, 0, 4)
	if p.space(); p.take(']') {
		return list
	}
	for p.fault == "" {
		p.space()
		list = append(list, p.value())
		if p.space(); p.take(']') {
			return list
		}
		if !p.take(',') {
			return p.fail("want a comma or ], found %s", p.found())
		}
	}
	return nil
}

func (p *parser) number() any {
	from := p.at
	p.take('-')
	if !p.take('0') && !p.digits() {
		return p.fail("want a digit, found %s", p.found())
	}
	if p.take('.') && !p.digits() {
		return p.fail("want a digit, found %s", p.found())
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return p.fail("want a digit, found %s", p.found())
		}
	}
	f, err := strconv.ParseFloat(string(p.data[from:p.at]), 64)
	if err != nil {
		p.at = from
		return p.fail("the number is out of range")
	}
	return f
}

func (p *parser) digits() bool {
	from := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > from
}

// text reads a string; most have no escapes and are taken as they stand.
func (p *parser) text() string {
	p.at++
	from := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			s := string(p.data[from:p.at])
			p.at++
			return s
		case c == '\\':
			return p.escaped(append([]byte(nil), p.data[from:p.at]...))
		default:
			p.letter()
		}
		if p.fault != "" {
			return ""
		}
	}
	p.fail("it ends within a string")
	return ""
}

// letter steps over one character of a string.
func (p *parser) letter() {
	c := p.data[p.at]
	if c < ' ' {
		p.fail("control character %#02x in a string; write it as an escape", c)
		return
	}
	if c < utf8.RuneSelf {
		p.at++
		return
	}
	r, n := utf8.DecodeRune(p.data[p.at:])
	if r == utf8.RuneError && n == 1 {
		p.fail("byte %#02x is no UTF-8", c)
		return
	}
	p.at += n
}

// escaped reads the rest of a string from its first escape on.
func (p *parser) escaped(s []byte) string {
	for p.at < len(p.data) && p.fault == "" {
		switch p.data[p.at] {
		case '"':
			p.at++
			return string(s)
		case '\\':
			s = p.escape(s)
		default:
			from := p.at
			p.letter()
			s = append(s, p.data[from:p.at]...)
		}
	}
	p.fail("it ends within a string")
	return ""
}

// escapes are what may follow a backslash, with what it stands for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *parser) escape(s []byte) []byte {
	p.at++
	if p.peek() == 'u' {
		return p.unicode(s)
	}
	c := escapes[p.peek()]
	if c == 0 {
		p.fail("no such escape: backslash and %s", p.found())
		return s
	}
	p.at++
	return append(s, c)
}

func (p *parser) unicode(s []byte) []byte {
	from := p.at
	r := p.hex()
	if utf16.IsSurrogate(r) {
		low := rune(-1)
		if p.take('\\') && p.peek() == 'u' {
			low = p.hex()
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError && p.fault == "" {
			p.at = from
			p.fail("half a surrogate pair is no character")
		}
	}
	return utf8.AppendRune(s, r)
}

// hex reads u and four digits.
func (p *parser) hex() rune {
	if len(p.data)-p.at < 5 {
		p.fail("want four hexadecimal digits")
		return 0
	}
	n, err := strconv.ParseUint(string(p.data[p.at+1:p.at+5]), 16, 32)
	if err != nil {
		p.fail("want four hexadecimal digits")
		return 0
	}
	p.at += 5
	return rune(n)
}
