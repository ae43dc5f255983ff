package kafkalog_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/eventlogtest"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestAssignment(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	eventlogtest.Assign(t, func(t *testing.T) eventlog.Log { return open(t, kafkalog.Config{Brokers: brokers}) })
}

// Times of a member's session.
const (
	session = 6 * time.Second
	slack   = 4 * time.Second // for a rebalance after it, on a busy machine
)

// wire is a process's way to the brokers, which can be cut, as by its death, or
// go silent, as by a firewall.
type wire struct {
	mu     sync.Mutex
	down   bool
	silent chan struct{} // closed when it speaks again
	conns  []*wireConn
}

func newWire() *wire {
	speaks := make(chan struct{})
	close(speaks)
	return &wire{silent: speaks}
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &wireConn{Conn: conn, wire: w, closed: make(chan struct{})}
	w.conns = append(w.conns, c)
	return c, nil
}

// cut closes all connections and allows no more until mend.
func (w *wire) cut() {
	w.mu.Lock()
	w.down = true
	conns := w.conns
	w.conns = nil
	w.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// hush keeps back all answers until the function that it returns is called.
func (w *wire) hush() (speak func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	silent := make(chan struct{})
	w.silent = silent
	return func() { close(silent) }
}

type wireConn struct {
	net.Conn
	wire     *wire
	once     sync.Once
	closed   chan struct{}
	deadline atomic.Int64
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.mu.Lock()
	silent := c.wire.silent
	c.wire.mu.Unlock()
	for {
		select {
		case <-silent:
			return n, err
		case <-c.closed:
			return 0, net.ErrClosed
		case <-time.After(10 * time.Millisecond):
			if d := c.deadline.Load(); d > 0 && time.Now().UnixNano() > d {
				return 0, os.ErrDeadlineExceeded
			}
		}
	}
}

func (c *wireConn) SetReadDeadline(t time.Time) error {
	if c.deadline.Store(t.UnixNano()); t.IsZero() {
		c.deadline.Store(0)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *wireConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wireConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// node is a process with a log of its own, and the latest set that it was told.
type node struct {
	wire   *wire
	member eventlog.Membership
	mu     sync.Mutex
	held   []int32
	told   int // how many sets
}

func startNode(t *testing.T, brokers []string, group, topic, instance string) *node {
	t.Helper()
	n := &node{wire: newWire()}
	log := open(t, kafkalog.Config{Brokers: brokers}.WithDial(n.wire.dial))
	m, err := log.Join(t.Context(), group, topic, instance)
	if err != nil {
		t.Fatal(err)
	}
	n.member = m
	go func() {
		for {
			set, err := m.Next(context.Background())
			if err != nil {
				return
			}
			n.mu.Lock()
			n.held = set
			n.told++
			n.mu.Unlock()
		}
	}()
	return n
}

func (n *node) now() ([]int32, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held, n.told
}

// until waits for nodes to hold so many partitions each, without overlap, and
// returns how long it took.
func until(t *testing.T, within time.Duration, want []int, nodes ...*node) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		var all []int32
		var sizes []int
		for _, n := range nodes {
			held, _ := n.now()
			all = append(all, held...)
			sizes = append(sizes, len(held))
		}
		slices.Sort(all)
		if slices.Equal(sizes, want) && len(slices.Compact(all)) == len(all) {
			return time.Since(began)
		}
		if time.Since(began) > within {
			t.Fatalf("after %v the nodes have %v partitions, want %v", within, sizes, want)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// group makes a topic of 16 partitions. Its tests wait for most of their time,
// so they do it together.
func group(t *testing.T) (brokers []string, topic string) {
	t.Helper()
	t.Parallel()
	brokers = kafkatest.Brokers(t)
	return brokers, ensure(t, open(t, kafkalog.Config{Brokers: brokers}), 16)
}

func TestOthersTakeOverFromOneThatClosesWithinAboutASecond(t *testing.T) {
	brokers, topic := group(t)
	a := startNode(t, brokers, topic, topic, "a")
	b := startNode(t, brokers, topic, topic, "b")
	until(t, 20*time.Second, []int{8, 8}, a, b)
	if err := b.member.Close(); err != nil {
		t.Fatal(err)
	}
	took := until(t, 3*time.Second, []int{16}, a)
	t.Logf("taken over %v after close", took)
}

func TestOthersTakeOverFromOneThatDiesOnceItsSessionHasEnded(t *testing.T) {
	brokers, topic := group(t)
	a := startNode(t, brokers, topic, topic, "a")
	b := startNode(t, brokers, topic, topic, "")
	until(t, 20*time.Second, []int{8, 8}, a, b)
	b.wire.cut()
	took := until(t, session+slack, []int{16, 0}, a, b)
	t.Logf("taken over %v after death", took)
	b.wire.mend()
	until(t, 20*time.Second, []int{8, 8}, a, b)
}

func TestAnInstanceThatIsSoonBackFindsItsPartitionsAndMovesNoOthers(t *testing.T) {
	brokers, topic := group(t)
	a := startNode(t, brokers, topic, topic, "a")
	b := startNode(t, brokers, topic, topic, "b")
	until(t, 20*time.Second, []int{8, 8}, a, b)
	for i, dead := range []*node{b, a} { // one of them leads the group
		other := []*node{a, b}[i]
		had, _ := dead.now()
		kept, told := other.now()
		dead.wire.cut()
		<-time.After(time.Second)
		back := startNode(t, brokers, topic, topic, []string{"b", "a"}[i])
		until(t, 10*time.Second, []int{8, 8}, back, other)
		<-time.After(2 * time.Second)
		if held, _ := back.now(); !slices.Equal(held, had) {
			t.Errorf("it had %v and is back with %v", had, held)
		}
		if held, again := other.now(); again != told || !slices.Equal(held, kept) {
			t.Errorf("the other had %v, and after %d changes has %v", kept, again-told, held)
		}
		if i == 0 {
			b = back
		}
	}
}

func TestBrokersThatAreAwayForLessThanASessionMoveNothing(t *testing.T) {
	brokers, topic := group(t)
	nodes := []*node{startNode(t, brokers, topic, topic, "a"), startNode(t, brokers, topic, topic, "")}
	until(t, 20*time.Second, []int{8, 8}, nodes...)
	var told []int
	for _, n := range nodes {
		_, times := n.now()
		told = append(told, times)
		n.wire.cut()
	}
	<-time.After(3 * time.Second)
	for _, n := range nodes {
		n.wire.mend()
	}
	<-time.After(2 * session)
	for i, n := range nodes {
		if held, times := n.now(); times != told[i] || len(held) != 8 {
			t.Errorf("after %d changes node %d has %v, want no change", times-told[i], i, held)
		}
	}
}

// One that could not reach the group while others did finds that they have
// taken its place, though it still claims it.
func TestAClaimInVainIsGivenUp(t *testing.T) {
	brokers, topic := group(t)
	a := startNode(t, brokers, topic, topic, "")
	until(t, 20*time.Second, []int{16}, a)
	a.wire.cut()
	<-time.After(time.Second)
	b := startNode(t, brokers, topic, topic, "") // waits for a to join again
	<-time.After(time.Second)
	a.wire.mend()
	until(t, 30*time.Second, []int{8, 8}, a, b)
}

func TestAProcessThatHearsNothingForASessionHasNoPartitionsUntilItDoes(t *testing.T) {
	for name, lose := range map[string]func(*wire) func(){
		"its connections fail":     func(w *wire) func() { w.cut(); return w.mend },
		"its connections are mute": (*wire).hush,
	} {
		t.Run(name, func(t *testing.T) {
			brokers, topic := group(t)
			a := startNode(t, brokers, topic, topic, "")
			until(t, 20*time.Second, []int{16}, a)
			back := lose(a.wire)
			if took := until(t, session+2*time.Second, []int{0}, a); took < session-2*time.Second {
				t.Errorf("it gave up its partitions after %v, before its session had ended", took)
			}
			<-time.After(time.Second)
			back()
			until(t, 30*time.Second, []int{16}, a)
		})
	}
}

func TestCloseIsBoundedWhereNoBrokerAnswers(t *testing.T) {
	brokers, topic := group(t)
	for _, instance := range []string{"", "a"} {
		a := startNode(t, brokers, topic+instance, topic, instance)
		until(t, 20*time.Second, []int{16}, a)
		speak := a.wire.hush()
		began := time.Now()
		err := a.member.Close()
		if took := time.Since(began); err == nil || took > 10*time.Second {
			t.Errorf("instance %q: closed within %v, %v: want an error within seconds", instance, took, err)
		}
		speak()
	}
}

func TestAMemberNeitherFetchesNorCommits(t *testing.T) {
	c := kafkatest.Start(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	log := open(t, kafkalog.Config{Brokers: c.ListenAddrs()})
	topic := ensure(t, log, 4)
	wantAppend(t, log, topic, 0)
	var costs, beats atomic.Int32
	c.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		switch kmsg.Key(req.Key()) {
		case kmsg.Fetch, kmsg.ListOffsets, kmsg.OffsetForLeaderEpoch, kmsg.OffsetCommit:
			costs.Add(1)
		case kmsg.Heartbeat:
			beats.Add(1)
		}
		return nil, nil, false
	})
	m, err := log.Join(t.Context(), "g", topic, "")
	if err != nil {
		t.Fatal(err)
	}
	if set, err := m.Next(patient(t)); err != nil || len(set) != 4 {
		t.Fatalf("%v, %v", set, err)
	}
	for beats.Load() < 3 {
		<-time.After(10 * time.Millisecond)
	}
	if n := costs.Load(); n != 0 {
		t.Errorf("it sent %d requests for records or offsets", n)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestChangesBetweenTwoCallsOfNextAreOne(t *testing.T) {
	brokers, topic := group(t)
	log := open(t, kafkalog.Config{Brokers: brokers})
	m, err := log.Join(t.Context(), topic, topic, "a")
	if err != nil {
		t.Fatal(err)
	}
	if set, err := m.Next(patient(t)); err != nil || len(set) != 16 {
		t.Fatalf("%v, %v", set, err)
	}
	b := startNode(t, brokers, topic, topic, "b")
	until(t, 20*time.Second, []int{8}, b)
	c := startNode(t, brokers, topic, topic, "c")
	for held, _ := c.now(); len(held) < 5; held, _ = c.now() {
		<-time.After(10 * time.Millisecond)
	}
	<-time.After(time.Second)
	if set, err := m.Next(patient(t)); err != nil || len(set) < 5 || len(set) > 6 {
		t.Fatalf("%v, %v: want the share of one among three, at once", set, err)
	}
}

func TestAGroupThatIsRefusedIsAnErrorWithARemedy(t *testing.T) {
	c := kafkatest.Start(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "secret"), kfake.User("PLAIN", "alice", "secret",
		kfake.ACL{Principal: "User:alice", Resource: kmsg.ACLResourceTypeTopic, Name: "*", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationAll, Allow: true}))
	root := open(t, kafkalog.Config{Brokers: c.ListenAddrs(), SASL: &kafkalog.SASL{Mechanism: "plain", User: "root", Password: "secret"}})
	topic := ensure(t, root, 1)
	log := open(t, kafkalog.Config{Brokers: c.ListenAddrs(), SASL: &kafkalog.SASL{Mechanism: "plain", User: "alice", Password: "secret"}})
	m, err := log.Join(t.Context(), "tribes", topic, "")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, m, `group "tribes"`, "let this user read the group")
}

func wantError(t *testing.T, m eventlog.Membership, parts ...string) {
	t.Helper()
	_, err := m.Next(patient(t))
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("%v: want an error with %q", err, part)
		}
	}
}
