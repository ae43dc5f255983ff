package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// pathID returns an id that stands in the path.
func pathID(r *http.Request, name string) (string, error) {
	id := r.PathValue(name)
	if framework.IsID(id) {
		return id, nil
	}
	if plain, err := url.PathUnescape(id); r.URL.RawPath != "" && err == nil {
		id = plain
	}
	if framework.IsID(id) {
		return id, nil
	}
	return "", invalid.because("the %s in the path is not as described", name).faults([]*huma.ErrorDetail{{
		Message: "want 1 to 128 characters out of A-Z a-z 0-9 . _ ~ -", Location: "path." + name, Value: echo(strings.ToValidUTF8(id, "�"))}})
}

// header returns a header that may be given once.
func header(r *http.Request, name string) (string, error) {
	given := r.Header[name]
	switch len(given) {
	case 0:
		return "", nil
	case 1:
		return given[0], nil
	}
	return "", malformedHeader(name, "give it once", len(given))
}

func malformedHeader(name, message string, value any) *problem {
	return malformed.because("the header %s is malformed: %s", name, message).
		faults([]*huma.ErrorDetail{{Message: message, Location: "header." + name, Value: echo(value)}})
}

// idempotencyKey returns the header's value, empty if there is none.
func idempotencyKey(r *http.Request) (string, error) {
	key, err := header(r, "Idempotency-Key")
	if err != nil || r.Header["Idempotency-Key"] == nil {
		return "", err
	}
	fits := len(key) >= 1 && len(key) <= 128
	for i := range len(key) {
		fits = fits && key[i] > ' ' && key[i] < 0x7f
	}
	if !fits {
		return "", malformedHeader("Idempotency-Key", "want 1 to 128 visible ASCII characters", strings.ToValidUTF8(key, "�"))
	}
	return key, nil
}

// ifMatch returns the version that the aggregate must have, nil if any will do.
func ifMatch(r *http.Request) (*uint64, error) {
	tag, err := header(r, "If-Match")
	if err != nil || r.Header["If-Match"] == nil {
		return nil, err
	}
	digits, ok := strings.CutPrefix(tag, `"`)
	if ok {
		digits, ok = strings.CutSuffix(digits, `"`)
	}
	version, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || digits != strconv.FormatUint(version, 10) {
		return nil, malformedHeader("If-Match",
			`want one version in double quotes, such as "3", or "0" for none yet; *, weak tags and lists are not supported`, tag)
	}
	return &version, nil
}

// noneMatch reports whether If-None-Match names the version, so that the client
// has it already.
func noneMatch(r *http.Request, etag string) bool {
	for _, given := range r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(given, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// minPosition returns what the query must have seen.
func minPosition(r *http.Request) (eventlog.Positions, error) {
	text, err := header(r, "Min-Position")
	if err != nil || r.Header["Min-Position"] == nil {
		return eventlog.NewPositions(), err
	}
	at, err := eventlog.ParsePositions(text)
	if err != nil {
		return at, malformedHeader("Min-Position", err.Error(), strings.ToValidUTF8(text, "�"))
	}
	return at, nil
}

// maxStaleness returns how old the answer may be, 0 for as old as it is.
func maxStaleness(r *http.Request) (time.Duration, error) {
	text, err := header(r, "Max-Staleness")
	if err != nil || r.Header["Max-Staleness"] == nil {
		return 0, err
	}
	age, err := time.ParseDuration(text)
	if err != nil || age < 0 || age > framework.MaxStaleness {
		return 0, malformedHeader("Max-Staleness", "want a time such as 2s or 500ms, from 0s to 1h", strings.ToValidUTF8(text, "�"))
	}
	return max(age, 1), nil // 0 would be no bound
}

// body reads a request's body: JSON of at most max bytes. It is nil if there is
// none, or nothing but space.
func body(w http.ResponseWriter, r *http.Request, max int64) ([]byte, error) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > max {
		return nil, tooLarge.because("the body has %d bytes, at most %d are taken", r.ContentLength, max)
	}
	if err := media(r); err != nil {
		return nil, err
	}
	data, err := read(http.MaxBytesReader(w, r.Body, max), r.ContentLength)
	if err != nil {
		return nil, readProblem(err)
	}
	if blank(data) {
		return nil, nil
	}
	return data, nil
}

func blank(data []byte) bool {
	for _, c := range data {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// read is io.ReadAll with one allocation where the size is known and small; what is
// larger takes memory as it arrives.
func read(from io.Reader, size int64) ([]byte, error) {
	if size < 0 || size > maxPooled {
		return io.ReadAll(from)
	}
	data := make([]byte, size)
	_, err := io.ReadFull(from, data)
	return data, err
}

func readProblem(err error) error {
	big := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &big):
		return tooLarge.because("the body has more than %d bytes", big.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return tooSlow.because("the body did not arrive in time").with("Connection", "close")
	}
	return malformed.because("the body could not be read to its end: %s", err.Error())
}

// media refuses a body that is not said to be plain JSON.
func media(r *http.Request) error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return wrongMedia.because("Content-Encoding %.80q is not supported; send the body as it is", coding).with("Accept-Encoding", "identity")
	}
	given := r.Header.Get("Content-Type")
	if given == "application/json" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return wrongMedia.because("Content-Type %.80q is not supported; send the header Content-Type: application/json", given).
			with("Accept", "application/json")
	}
	return nil
}

// query reads a request's query parameters and collects what is wrong with them.
type query struct {
	values url.Values
	faults []*huma.ErrorDetail
}

// newQuery refuses parameters that are not known, or given twice.
func newQuery(r *http.Request, known ...string) (*query, error) {
	q := &query{}
	if r.URL.RawQuery == "" {
		return q, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed.because("the query string cannot be read: %s", err.Error())
	}
	q.values = values
	for name, given := range values {
		switch {
		case !slices.Contains(known, name):
			q.add(name, "unknown parameter; there are: "+list(known), given[0])
		case len(given) > 1:
			q.add(name, "give it once", len(given))
		case !utf8.ValidString(given[0]):
			q.add(name, "it is no UTF-8", nil)
		}
	}
	return q, nil
}

func (q *query) add(name, message string, value any) {
	if len(q.faults) < maxFaults {
		name = strings.ToValidUTF8(name, "�")
		q.faults = append(q.faults, &huma.ErrorDetail{Message: message, Location: "query." + echo(name).(string), Value: echo(value)})
	}
}

// number returns a parameter from least to most.
func (q *query) number(name string, otherwise, least, most uint64) uint64 {
	text := q.values.Get(name)
	if !q.values.Has(name) {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		q.add(name, fmt.Sprintf("want a whole number from %d to %d", least, most), text)
	}
	return n
}

// text returns a parameter of at most max bytes.
func (q *query) text(name string, max int) string {
	text := q.values.Get(name)
	if len(text) > max {
		q.add(name, fmt.Sprintf("want at most %d bytes", max), text)
	}
	return text
}

// choice returns a parameter that is one of a list, or empty if it is not given.
func (q *query) choice(name string, of []string) string {
	text := q.values.Get(name)
	if !q.values.Has(name) || slices.Contains(of, text) {
		return text
	}
	message := "nothing can be chosen here; leave it out"
	if len(of) > 0 {
		message = "want one of: " + list(of)
	}
	q.add(name, message, text)
	return ""
}

// problem returns what was wrong, if anything was.
func (q *query) problem() error {
	if len(q.faults) == 0 {
		return nil
	}
	return invalid.because("%s in the query string", count(len(q.faults), "fault")).faults(sorted(q.faults))
}

// count is "1 fault", "2 faults".
func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

// sorted orders faults by location.
func sorted(faults []*huma.ErrorDetail) []*huma.ErrorDetail {
	slices.SortFunc(faults, func(a, b *huma.ErrorDetail) int {
		return strings.Compare(a.Location+"\x00"+a.Message, b.Location+"\x00"+b.Message)
	})
	return faults
}
