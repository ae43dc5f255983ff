package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/cluster"
	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// kind is a kind of problem: what it is called on the wire, for ever.
type kind struct {
	name   string
	status int
	title  string
	about  string
}

// The kinds of problem.
var (
	malformed       = &kind{"malformed", 400, "Malformed request", "The request cannot be read: broken JSON, bytes that are no UTF-8, or a header that is not of its form. Send it otherwise."}
	unauthenticated = &kind{"unauthenticated", 401, "No caller", "A command needs to know who sends it."}
	forbidden       = &kind{"forbidden", 403, "Not allowed", "This caller may not do this, or this host may not be asked. Asking again changes nothing."}
	unknown         = &kind{"unknown", 404, "No such path", "No aggregate type, command or view has this name. The detail says which there are."}
	notFound        = &kind{"not-found", 404, "Not found", "The aggregate has no events yet, or the view has no such document. With Min-Position, a view has seen all up to it."}
	wrongMethod     = &kind{"method-not-allowed", 405, "Method not allowed", "The path is right, the method is not; the header Allow names those that are."}
	notAcceptable   = &kind{"not-acceptable", 406, "Not acceptable", "The answer is not to be had in the form that the header Accept asks for."}
	tooSlow         = &kind{"request-timeout", 408, "Request too slow", "The request did not arrive in time. Nothing was done; send it again."}
	tooLate         = &kind{"too-late-to-retry", 409, "Too late to retry", "The key's time lies before all outcomes that are remembered: the command may have run or not. Read the aggregate before sending it with a new key."}
	wrongState      = &kind{"generation-state", 409, "Not with this generation now", "The view's generation cannot be built, read, left or given up as things are. Nothing was done; the detail says what keeps it, and what to do."}
	notParked       = &kind{"not-parked", 409, "Not parked", "Nothing is held back here that could be ruled on: an effect is tried again by itself, and a task that has stopped obeys nothing. The detail says what to do."}
	conflict        = &kind{"conflict", 412, "Version conflict", "If-Match named another version than the aggregate has; expected and actual say which. Read it again and decide anew."}
	tooLarge        = &kind{"too-large", 413, "Too large", "The body, or what the command would record, is beyond the limit. Nothing was done."}
	wrongMedia      = &kind{"unsupported-media-type", 415, "Unsupported media type", "A body is sent as application/json, not compressed."}
	invalid         = &kind{"invalid", 422, "Invalid values", "The request can be read, but values in it are not as described. errors names each."}
	rejected        = &kind{"rejected", 422, "Rejected", "The command was understood and decided against; the detail is the reason. Nothing was recorded."}
	keyReused       = &kind{"idempotency-key-reused", 422, "Idempotency key reused", "This caller used the key for another command or body on this aggregate. Take a new key for a new command."}
	limited         = &kind{"limited", 429, "Too many requests", "The server answers as many requests as it may. Nothing was done; try again after Retry-After."}
	internal        = &kind{"internal", 500, "Internal error", "Something failed that should not. The server's log has the reason under the request id in instance."}
	broken          = &kind{"broken", 500, "Aggregate cannot be folded", "The program cannot read this aggregate's events. Other aggregates are not affected; the operator has to mend it."}
	unavailable     = &kind{"unavailable", 503, "Not available now", "The request was not carried out. Try again after Retry-After."}
	unresolved      = &kind{"unresolved", 503, "Outcome not known yet", "The command was sent, and may yet be accepted. Send it again with the same Idempotency-Key: it runs at most once, and the answer will be definite."}
	notOwner        = &kind{"not-owner", 503, "Owner not known", "Another process serves this aggregate, and the one that was asked does not know which, or was wrong about it. Nothing was done; try again after Retry-After."}
	notReady        = &kind{"not-ready", 503, "Not ready", "The application does not serve all it should yet; errors lists the reasons."}
)

// kinds are all of them, by status.
var kinds = []*kind{malformed, unauthenticated, forbidden, unknown, notFound, wrongMethod, notAcceptable, tooSlow, tooLate, wrongState, notParked, conflict,
	tooLarge, wrongMedia, invalid, rejected, keyReused, limited, internal, broken, unavailable, unresolved, notOwner, notReady}

// uri is the kind's name on the wire.
func (k *kind) uri() string { return "/problems/" + k.name }

// because returns a problem of the kind.
func (k *kind) because(format string, args ...any) *problem {
	return &problem{Type: k.uri(), Title: k.title, Status: k.status, Detail: fmt.Sprintf(format, args...)}
}

// problem is an error as clients see it.
type problem struct {
	Type     string              `json:"type" format:"uri-reference" doc:"The kind of problem, always the same for the same kind" example:"/problems/invalid"`
	Title    string              `json:"title" doc:"The kind in words" example:"Invalid values"`
	Status   int                 `json:"status" doc:"The HTTP status" example:"422"`
	Detail   string              `json:"detail" doc:"What happened here, and what to do about it"`
	Instance string              `json:"instance,omitempty" format:"uri-reference" doc:"The request, as the server's log knows it; with 5xx only"`
	Errors   []*huma.ErrorDetail `json:"errors,omitempty" nullable:"false" doc:"Every fault, each with its location, such as body.name or query.limit"`
	Expected *uint64             `json:"expected,omitempty" doc:"With conflict: the version that If-Match named"`
	Actual   *uint64             `json:"actual,omitempty" doc:"With conflict: the aggregate's version"`

	retry  time.Duration // Retry-After, where it is not 0
	header [2]string     // one more header
}

func (p *problem) Error() string { return p.Detail }

// with adds a header.
func (p *problem) with(name, value string) *problem {
	p.header = [2]string{name, value}
	return p
}

// after sets Retry-After, in whole seconds, at least one.
func (p *problem) after(d time.Duration) *problem {
	p.retry = max(d, time.Second)
	return p
}

// faults sets what is wrong.
func (p *problem) faults(list []*huma.ErrorDetail) *problem {
	p.Errors = list
	return p
}

// problemOf says how err looks to a client. What is not meant for clients is a
// 500 whose detail tells nothing.
func problemOf(err error) *problem {
	var (
		p    *problem
		no   cluster.Rejecter
		lost *cluster.ConflictError
		wait *cluster.UnavailableError
		bad  *cluster.BrokenError
		not  *framework.GenerationError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &no):
		return rejection(no)
	case errors.As(err, &lost):
		p = conflict.because("expected version %d, but the aggregate has version %d", lost.Expected, lost.Actual)
		p.Expected, p.Actual = &lost.Expected, &lost.Actual
		return p
	case errors.As(err, &not):
		return wrongState.because("%s", not.Error())
	case errors.As(err, &bad):
		return broken.because("%s", bad.Error())
	case errors.As(err, &wait):
		return waiting(wait)
	}
	return problemOfValue(err)
}

// problemOfValue is problemOf for errors that carry nothing.
func problemOfValue(err error) *problem {
	switch {
	case errors.Is(err, cluster.ErrKeyReused):
		return keyReused.because("%s", err.Error())
	case errors.Is(err, cluster.ErrTooLate):
		return tooLate.because("%s", err.Error())
	case errors.Is(err, eventlog.ErrTooLarge):
		return tooLarge.because("what the command would record is too large: %s", err.Error())
	case errors.Is(err, framework.ErrUnknown):
		return unknown.because("%s", err.Error())
	case errors.Is(err, framework.ErrNotFound):
		return notFound.because("%s", err.Error())
	case errors.Is(err, framework.ErrInvalid):
		return invalidValue(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable.because("the request ended before it was answered").after(time.Second)
	}
	return internal.because("the server's log says why, under the request id in instance")
}

func rejection(no cluster.Rejecter) *problem {
	reason, byCaller := no.Rejected()
	if byCaller {
		return forbidden.because("%s", reason)
	}
	return rejected.because("%s", reason)
}

func waiting(e *cluster.UnavailableError) *problem {
	if e.Unresolved {
		return unresolved.because("%s", e.Reason).after(e.RetryAfter)
	}
	return unavailable.because("%s", e.Reason).after(e.RetryAfter)
}

// invalidValue names the field of a body that did not fit its Go type, such as
// an integer out of range, which no schema says.
func invalidValue(err error) *problem {
	p := invalid.because("%s", err.Error())
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		p.Detail = "1 value of the body is not as described"
		p.Errors = []*huma.ErrorDetail{{Message: "does not fit " + t.Type.String(), Location: "body." + t.Field, Value: t.Value}}
	}
	return p
}

// write sends the problem.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.header[0] != "" {
		h.Set(p.header[0], p.header[1])
	}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.retry+time.Second-1)/time.Second), 10))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		panic(fmt.Errorf("encode problem %s: %w", p.Type, err))
	}
	w.WriteHeader(p.Status)
	w.Write(b.Bytes())
}
