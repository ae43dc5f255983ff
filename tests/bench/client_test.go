package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// order tells the clients' process what to ask.
type order struct {
	Addr    string
	Request request
	Callers int
	Cell    time.Duration
}

// request is what is sent: the number of a counter between two texts.
type request struct {
	Before, Behind string
	Counters       int64 // 0 to this many
}

// report is what it says: twice a mark, at both ends of the counted time, then
// what was measured.
type report struct {
	Mark     bool
	Measured measured
	CPU      time.Duration // of the clients, in the counted time
	Failure  string
}

// clients is the process that asks over HTTP: this program, started again.
type clients struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	in     *json.Encoder
	out    *json.Decoder
}

// clientRole, in the environment, makes this program the clients' process.
const clientRole = "BENCH_IS_CLIENT"

func startClients() (*clients, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &clients{cmd: exec.Command(program)}
	c.cmd.Env = append(os.Environ(), clientRole+"=yes")
	c.cmd.Stderr = os.Stderr
	if c.orders, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = json.NewEncoder(c.orders), json.NewDecoder(out)
	return c, c.cmd.Start()
}

func (c *clients) stop() error { return errors.Join(c.orders.Close(), c.cmd.Wait()) }

// ask carries out an order. mark is called as load calls it.
func (c *clients) ask(o order, mark func()) (r report, err error) {
	if err := c.in.Encode(o); err != nil {
		return r, fmt.Errorf("order the clients: %w", err)
	}
	for {
		r = report{}
		if err := c.out.Decode(&r); err != nil {
			return r, fmt.Errorf("hear the clients: %w", err)
		}
		if !r.Mark {
			break
		}
		mark()
	}
	if r.Failure != "" {
		return r, fmt.Errorf("clients of %s: %s", o.Addr, r.Failure)
	}
	return r, nil
}

// serveOrders is the clients' process: it ends when there are no more orders.
func serveOrders(in io.Reader, out io.Writer) {
	orders, reports := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if orders.Decode(&o) != nil {
			return
		}
		reports.Encode(o.carryOut(func() { reports.Encode(report{Mark: true}) }))
	}
}

func (o order) carryOut(mark func()) (r report) {
	callers, hangUp, err := dial(o)
	defer hangUp()
	if err != nil {
		return report{Failure: err.Error()}
	}
	var cpu []time.Duration
	r.Measured, err = load(callers, o.Cell, func() {
		cpu = append(cpu, ownCPU())
		mark()
	})
	if err != nil {
		return report{Failure: err.Error()}
	}
	r.CPU = cpu[1] - cpu[0]
	return r
}

// dial opens a connection for each caller.
func dial(o order) (asks []ask, hangUp func(), err error) {
	var open []net.Conn
	hangUp = func() {
		for _, c := range open {
			c.Close()
		}
	}
	for range o.Callers {
		c, err := net.Dial("tcp", o.Addr)
		if err != nil {
			return nil, hangUp, err
		}
		open = append(open, c)
		asks = append(asks, newConnection(c, o.Request).ask)
	}
	return asks, hangUp, nil
}

// connection is as little of an HTTP client as will do, so that it leaves the
// processors to the server.
type connection struct {
	io.Writer
	in   *bufio.Reader
	what request
	text []byte
}

func newConnection(c io.ReadWriter, what request) *connection {
	return &connection{Writer: c, in: bufio.NewReaderSize(c, 2048), what: what}
}

// What the clients send.
var (
	aCommand = request{"POST /v1/counter/counter-", "/count HTTP/1.1\r\nHost: bench\r\nUser: maya\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n" + commandBody, aggregatesCount}
	aQuery   = request{"GET /v1/views/card/counter-", " HTTP/1.1\r\nHost: bench\r\n\r\n", cardsCount}
)

func (c *connection) ask() error {
	c.text = append(c.text[:0], c.what.Before...)
	c.text = strconv.AppendInt(c.text, rand.Int64N(c.what.Counters), 10)
	c.text = append(c.text, c.what.Behind...)
	if _, err := c.Write(c.text); err != nil {
		return err
	}
	return c.answer()
}

// answer reads one answer, which must be a 200 with a length.
func (c *connection) answer() error {
	first, err := c.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !bytes.HasPrefix(first, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answered %s", bytes.TrimSpace(first))
	}
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if len(line) <= 2 {
			break
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(digits))); err != nil {
				return fmt.Errorf("read the answer's length: %w", err)
			}
		}
	}
	if length <= 0 {
		return errors.New("the answer has no body of a known length")
	}
	_, err = c.in.Discard(length)
	return err
}
