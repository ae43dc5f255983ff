package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// adminFlags say which application an operator's command asks, and how it answers.
type adminFlags struct {
	Admin   string        `default:"${admin}" env:"DRIVETRAIN_ADMIN" placeholder:"URL" help:"The admin listener of any process of the application. Default: ${admin}."`
	JSON    bool          `name:"json" help:"Print what the application answers, as JSON."`
	Timeout time.Duration `placeholder:"DURATION" help:"How long one request may take, and how long an application may be away that is followed. Default: 30s; 11m for what compares generations."`
}

// defaultAdmin is where an application answers operators, unless it is told otherwise.
const defaultAdmin = "http://127.0.0.1:8081"

// How long a request may take.
const (
	requestTime    = 30 * time.Second
	comparisonTime = 11 * time.Minute // the application gives up after 10
)

// maxAnswer bounds an answer of the admin listener: 20 differences, each of two
// documents of the largest size, have 36 MiB.
const maxAnswer = 64 << 20

// Validate checks the flags; kong calls it.
func (f *adminFlags) Validate() error {
	base, err := url.Parse(f.Admin)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return fmt.Errorf("--admin %.200q: want an http or https URL such as %s", f.Admin, defaultAdmin)
	}
	if f.Timeout < 0 {
		return fmt.Errorf("--timeout %v: want more than 0", f.Timeout)
	}
	f.Admin = strings.TrimSuffix(f.Admin, "/")
	return nil
}

// within returns the bound for what takes so long unless another is given.
func (f *adminFlags) within(otherwise time.Duration) time.Duration {
	if f.Timeout > 0 {
		return f.Timeout
	}
	return otherwise
}

// adminError is a problem that the admin listener answers.
type adminError struct {
	Status int
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// maxFaults bounds the faults of a request that are named.
const maxFaults = 5

func (e *adminError) Error() string {
	text := fmt.Sprintf("%s (%d): %s", e.Title, e.Status, e.Detail)
	for _, f := range e.Errors[:min(len(e.Errors), maxFaults)] {
		text += "; " + f.Location + ": " + f.Message
	}
	switch e.Type {
	case "/problems/unresolved":
		text += "; look with drivetrain view list, or give the command again: it may be repeated"
	case "/problems/limited", "/problems/unavailable", "/problems/not-ready":
		text += "; try again"
	case "/problems/method-not-allowed", "/problems/not-found":
		text += "; does --admin name the admin listener, and not the API for clients?"
	}
	return onOneLine(text)
}

// passes reports whether the same request may fare better later.
func (e *adminError) passes() bool {
	return e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests
}

// awayError says that nobody answered.
type awayError struct {
	admin string
	why   error
}

func (e *awayError) Error() string {
	return fmt.Sprintf("nothing answers at %s: %v; start the application, with an admin listener, or name another by --admin or DRIVETRAIN_ADMIN", e.admin, e.why)
}

// call asks the admin listener, below its URL, and reads the answer into out, nil: it
// is left. in is sent as JSON, nil: nothing is. Errors: *adminError for what the
// listener refuses; *awayError where none answers; ctx's own; else it is no admin
// listener.
func (f *adminFlags) call(ctx context.Context, method, path string, in, out any) (status int, err error) {
	return f.callWithin(ctx, f.within(requestTime), method, path, in, out)
}

func (f *adminFlags) callWithin(ctx context.Context, bound time.Duration, method, path string, in, out any) (status int, err error) {
	bounded, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(bounded, method, f.Admin+path, body)
	if err != nil {
		return 0, err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		defer res.Body.Close()
		status, err = res.StatusCode, f.read(res, out)
	}
	switch {
	case ctx.Err() != nil:
		return status, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status, &awayError{f.Admin, fmt.Errorf("no answer within %v (--timeout)", bound)}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return status, &awayError{f.Admin, u.Err}
	}
	return status, err
}

func (f *adminFlags) read(res *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return &awayError{f.Admin, fmt.Errorf("the answer ended early: %w", err)}
	case len(data) > maxAnswer:
		return fmt.Errorf("%s answers more than %d bytes", f.Admin, maxAnswer)
	case res.StatusCode >= 300:
		problem := &adminError{Status: res.StatusCode}
		if json.Unmarshal(data, problem) != nil || problem.Title == "" {
			return fmt.Errorf("%s answers %s, and says nothing of why: is it the admin listener of an application?", f.Admin, res.Status)
		}
		return problem
	case out == nil || len(data) == 0:
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s answers what is not understood: is it the admin listener of an application? %w", f.Admin, err)
	}
	return nil
}

// ask is call for what is printed: with --json the answer is, as it came.
func (f *adminFlags) ask(ctx context.Context, out io.Writer, bound time.Duration, method, path string, in, answer any) error {
	var raw json.RawMessage
	if _, err := f.callWithin(ctx, bound, method, path, in, &raw); err != nil {
		return err
	}
	if f.JSON && len(raw) > 0 {
		if _, err := fmt.Fprintf(out, "%s\n", raw); err != nil {
			return err
		}
	}
	if answer == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("%s answers what is not understood: is it the admin listener of an application? %w", f.Admin, err)
	}
	return nil
}

// again is how a command is given to the same application, such as "view list cards".
func (f *adminFlags) again(command string) string {
	if f.Admin == defaultAdmin {
		return "drivetrain " + command
	}
	return "drivetrain " + command + " --admin " + f.Admin
}

// onOneLine returns a text without what moves a terminal's cursor or colours it.
func onOneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
