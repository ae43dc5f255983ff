package api

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/event"
)

// Option changes how the API answers. One out of its bounds panics in Serve,
// Handler or Admin.
type Option func(*settings)

type settings struct {
	caller       func(*http.Request) (string, error)
	callerHeader string
	adminAddr    string
	title        string
	version      string
	listening    func(public, admin net.Addr)

	maxBody       int64
	maxHeader     int
	maxConcurrent int
	maxForwards   int
	maxStreams    int
	beat          time.Duration // of live queries
	readTimeout   time.Duration
	writeTimeout  time.Duration
	idleTimeout   time.Duration
	shutdown      time.Duration
}

// Caller sets who sends a command: the actor in every envelope, and the scope of
// idempotency keys. f returns a name of 1 to 256 bytes, or an error whose text
// the client is shown with its 401. It is asked for every command and for no
// query, on any number of goroutines. Default: nobody, so that every command
// gets 401.
//
// Where processes share the application, the owner of an aggregate asks it again,
// of a request with the same headers and Host that comes from another process. Who
// looks at the connection, such as its address or a client's certificate, finds
// that process there, and must not trust it for the client.
func Caller(f func(*http.Request) (string, error)) Option {
	return func(s *settings) { s.caller, s.callerHeader = f, "" }
}

// CallerHeader takes the caller from a header as it stands, such as "User"; it
// must match framework.IDPattern. Whoever can reach the API can be anybody: use
// it behind a proxy that sets the header, or where that does not matter.
func CallerHeader(name string) Option {
	return func(s *settings) {
		s.callerHeader = http.CanonicalHeaderKey(name)
		s.caller = func(r *http.Request) (string, error) { return headerCaller(r, s.callerHeader) }
	}
}

func headerCaller(r *http.Request, name string) (string, error) {
	switch given := r.Header[name]; {
	case len(given) == 0:
		return "", fmt.Errorf("say who you are in the header %s", name)
	case len(given) > 1 || !framework.IsID(given[0]):
		return "", fmt.Errorf("header %s: want one name of 1 to 128 characters out of A-Z a-z 0-9 . _ ~ -", name)
	default:
		return given[0], nil
	}
}

var errNobody = errors.New("nobody may send commands: the program sets no api.Caller")

func nobody(*http.Request) (string, error) { return "", errNobody }

// AdminAddr lets Serve answer operators on a listener of their own, see [Admin].
// An address without host, such as ":8081", means 127.0.0.1. Default: no such
// listener.
func AdminAddr(addr string) Option { return func(s *settings) { s.adminAddr = addr } }

// Title names the API in its description. Default: Config.App.
func Title(title string) Option { return func(s *settings) { s.title = title } }

// Version is the API's version in its description. Default: "1".
func Version(version string) Option { return func(s *settings) { s.version = version } }

// Listening is called by Serve once it accepts connections, with the addresses
// it listens on: useful where a port was 0. admin is nil without AdminAddr.
// Default: nothing is called.
func Listening(f func(public, admin net.Addr)) Option {
	return func(s *settings) { s.listening = f }
}

// MaxBody bounds a request's body in bytes; a larger one gets 413. Default 1 MiB,
// at least 1 KiB, at most 16 MiB. What a command records must fit into
// eventlog.MaxBatch all the same.
func MaxBody(bytes int64) Option { return func(s *settings) { s.maxBody = bytes } }

// MaxHeader bounds a request's line and headers in bytes; more gets 431. It
// matters to Serve only. Default 64 KiB, at least 4 KiB, at most 1 MiB.
func MaxHeader(bytes int) Option { return func(s *settings) { s.maxHeader = bytes } }

// MaxConcurrent bounds the requests that are answered at once; more get 429 with
// Retry-After. As many again may wait for a Min-Position, and four times as many
// may be sending their bodies. /healthz and /readyz do not count. Default 1024, at
// least 1, at most 65,536.
func MaxConcurrent(n int) Option { return func(s *settings) { s.maxConcurrent = n } }

// MaxForwards bounds the requests that are under way to one other process of the
// application, and the connections to it; more get 503 with Retry-After. They count
// for MaxConcurrent too, so let it be well below: a process that hangs holds this
// many for Config.CommandWait, with queries for ReadWait more. Default 256, at least
// 1, at most 65,536.
func MaxForwards(n int) Option { return func(s *settings) { s.maxForwards = n } }

// MaxStreams bounds the clients that are shown a query live at once, by server-sent
// events; more get 503 with Retry-After. They do not count for MaxConcurrent. Each
// holds a connection, and some 20 kB; those who ask the same share one look at the
// stores. Default 1024, at least 1, at most 65,536.
func MaxStreams(n int) Option { return func(s *settings) { s.maxStreams = n } }

// ReadTimeout bounds how long a request may take to arrive; half of it, at most
// 5 s, goes to its headers. It matters to Serve only. Default 10 s, at least
// 100 ms, at most 10 min.
func ReadTimeout(d time.Duration) Option { return func(s *settings) { s.readTimeout = d } }

// WriteTimeout bounds how long a request may take from its headers to the end of
// the answer, and must be above Config.CommandWait and ReadWait; of a query that is
// shown live, how long one event may take to be sent. But for these it matters to
// Serve only. Default 20 s more than these and ReadTimeout together; at least
// 100 ms, at most 1 h.
func WriteTimeout(d time.Duration) Option { return func(s *settings) { s.writeTimeout = d } }

// IdleTimeout bounds how long a connection may rest between requests. It matters
// to Serve only. Default 2 min, at least 100 ms, at most 1 h.
func IdleTimeout(d time.Duration) Option { return func(s *settings) { s.idleTimeout = d } }

// ShutdownTimeout bounds how long Serve waits for requests under way once its
// context has ended. Default 10 s, at least 1 ms, at most 10 min.
func ShutdownTimeout(d time.Duration) Option { return func(s *settings) { s.shutdown = d } }

// newSettings applies options, fills in the defaults and checks the bounds.
func newSettings(a app, options []Option) settings {
	s := settings{caller: nobody}
	for _, o := range options {
		o(&s)
	}
	cfg := a.Config()
	s.title = cmp.Or(s.title, cfg.App)
	s.version = cmp.Or(s.version, "1")
	s.maxBody = within("MaxBody", s.maxBody, 1<<20, 1<<10, 16<<20)
	s.maxHeader = within("MaxHeader", s.maxHeader, 64<<10, 4<<10, 1<<20)
	s.maxConcurrent = within("MaxConcurrent", s.maxConcurrent, 1024, 1, 1<<16)
	s.maxForwards = within("MaxForwards", s.maxForwards, 256, 1, 1<<16)
	s.maxStreams = within("MaxStreams", s.maxStreams, 1024, 1, 1<<16)
	s.beat = cmp.Or(s.beat, beatEvery)
	s.readTimeout = within("ReadTimeout", s.readTimeout, 10*time.Second, 100*time.Millisecond, 10*time.Minute)
	s.idleTimeout = within("IdleTimeout", s.idleTimeout, 2*time.Minute, 100*time.Millisecond, time.Hour)
	s.shutdown = within("ShutdownTimeout", s.shutdown, 10*time.Second, time.Millisecond, 10*time.Minute)
	work := min(cfg.CommandWait+cfg.ReadWait+s.readTimeout+20*time.Second, time.Hour)
	s.writeTimeout = within("WriteTimeout", s.writeTimeout, work, 100*time.Millisecond, time.Hour)
	if s.caller == nil {
		panic("api: Caller(nil); leave it out, or give a function")
	}
	return s
}

// within returns v, or the default if it is zero; it panics outside its bounds.
func within[T ~int | ~int64](name string, v, otherwise, least, most T) T {
	v = cmp.Or(v, otherwise)
	if v < least || v > most {
		panic(fmt.Errorf("api: %s(%v): want %v to %v", name, v, least, most))
	}
	return v
}

// callerOf returns who sends r, or a problem.
func (s *settings) callerOf(r *http.Request) (string, error) {
	name, err := s.caller(r)
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case name == "":
		why = "nobody is known to send this command"
	case len(name) > event.MaxName:
		why = fmt.Sprintf("the caller's name has %d bytes, at most %d are kept", len(name), event.MaxName)
	default:
		return name, nil
	}
	return "", unauthenticated.because("%s", why).with("WWW-Authenticate", s.challenge())
}

// challenge says how a client may say who it is, as HTTP wants of a 401.
func (s *settings) challenge() string {
	if s.callerHeader != "" {
		return `Header name="` + s.callerHeader + `"`
	}
	return "Caller"
}
