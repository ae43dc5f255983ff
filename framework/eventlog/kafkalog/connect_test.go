package kafkalog_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog/kafkatest"
)

func TestOpenSaysWhatIsWrongWithItsConfig(t *testing.T) {
	brokers := []string{"127.0.0.1:1"}
	for want, cfg := range map[string]kafkalog.Config{
		"set Config.Brokers":     {},
		`"127.0.0.1": want host`: {Brokers: []string{"127.0.0.1"}},
		"Config.AppendTimeout":   {Brokers: brokers, AppendTimeout: -1},
		"Config.FetchWait":       {Brokers: brokers, FetchWait: time.Minute},
		"Config.ReadAhead":       {Brokers: brokers, ReadAhead: 1},
		"Config.MaxReaders":      {Brokers: brokers, MaxReaders: -1},
		"Config.Replication":     {Brokers: brokers, Replication: 1 << 20},
		"Config.SASL.Mechanism":  {Brokers: brokers, SASL: &kafkalog.SASL{Mechanism: "gssapi", User: "u"}},
		"Config.SASL has no Use": {Brokers: brokers, SASL: &kafkalog.SASL{Mechanism: "plain"}},
	} {
		if log, err := kafkalog.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v: want an error with %q", log, err, want)
		}
	}
}

func TestOpenNamesBrokersThatDoNotAnswer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, at := range []string{closed.Addr().String(), silent.Addr().String()} {
		began := time.Now()
		_, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: []string{at}})
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), at) || took > 8*time.Second {
			t.Errorf("error %v after %v, want %s named within seconds", err, took, at)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = kafkalog.Open(ctx, kafkalog.Config{Brokers: []string{silent.Addr().String()}})
	if took := time.Since(began); err == nil || took > 3*time.Second {
		t.Fatalf("error %v after %v", err, took)
	}
}

// roundtrip uses all that connects.
func roundtrip(t *testing.T, log eventlog.Log, topic string) error {
	t.Helper()
	base, err := log.Append(t.Context(), topic, 0, batch("x"))
	if err != nil {
		return err
	}
	r, err := log.Read(topic, 0, base)
	if err != nil {
		return err
	}
	defer r.Close()
	run, err := r.Next(patient(t))
	if err == nil && string(run[0].Value) != "x" {
		err = fmt.Errorf("read %q", run[0].Value)
	}
	return err
}

func TestSASLAuthenticatesEveryClient(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			sasl := &kafkalog.SASL{Mechanism: strings.ToLower(mechanism), User: "alice", Password: "secret"}
			_, log, topic := onFake(t, 1, kafkalog.Config{SASL: sasl}, kfake.EnableSASL(), kfake.Superuser(mechanism, "alice", "secret"))
			if err := roundtrip(t, log, topic); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAWrongPasswordIsNamedButNotShown(t *testing.T) {
	c := kafkatest.Start(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "alice", "secret"))
	sasl := &kafkalog.SASL{Mechanism: "scram-sha-256", User: "alice", Password: "hunter2"}
	began := time.Now()
	_, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: c.ListenAddrs(), SASL: sasl})
	if err == nil || !strings.Contains(err.Error(), "with SASL scram-sha-256 as alice") || time.Since(began) > 8*time.Second {
		t.Fatalf("error %v, want authentication named within seconds", err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %v", sasl, *sasl, sasl, err); strings.Contains(shown, "hunter2") {
		t.Fatalf("the password is shown: %s", shown)
	}
}

// certificate is a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSEncryptsEveryClient(t *testing.T) {
	cert, pool := certificate(t)
	sasl := &kafkalog.SASL{Mechanism: "PLAIN", User: "alice", Password: "secret"}
	c, log, topic := onFake(t, 1, kafkalog.Config{TLS: &tls.Config{RootCAs: pool}, SASL: sasl},
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}), kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "secret"))
	if err := roundtrip(t, log, topic); err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]*tls.Config{"none": nil, "another authority": {RootCAs: x509.NewCertPool()}} {
		began := time.Now()
		_, err := kafkalog.Open(t.Context(), kafkalog.Config{Brokers: c.ListenAddrs(), TLS: wrong, SASL: sasl})
		if err == nil || !strings.Contains(err.Error(), c.ListenAddrs()[0]) || time.Since(began) > 8*time.Second {
			t.Errorf("TLS %s: %v after %v, want the address named within seconds", name, err, time.Since(began))
		}
	}
}

func TestCloseEndsConnectionsWithoutWaitingForAnswers(t *testing.T) {
	var open counter
	cluster, log, topic := onFake(t, 1, kafkalog.Config{}, kfake.ListenFn(open.listen))
	held, release := hold(cluster)
	defer release()
	go func() { _, _ = log.Append(context.Background(), topic, 0, batch("x")) }()
	<-held
	if open.n.Load() == 0 {
		t.Fatal("no connection is open")
	}
	began := time.Now()
	log.Close()
	for open.n.Load() > 0 && time.Since(began) < 2*time.Second {
		<-time.After(5 * time.Millisecond)
	}
	if n := open.n.Load(); n != 0 {
		t.Fatalf("%d connections are open after close", n)
	}
}

// counter counts connections that neither side has closed.
type counter struct{ n atomic.Int32 }

func (c *counter) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return countListener{l, c}, err
}

type countListener struct {
	net.Listener
	*counter
}

func (l countListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.n.Add(1)
	return &countConn{Conn: conn, gone: sync.OnceFunc(func() { l.n.Add(-1) })}, nil
}

type countConn struct {
	net.Conn
	gone func()
}

func (c *countConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.gone()
	}
	return n, err
}

func (c *countConn) Close() error {
	c.gone()
	return c.Conn.Close()
}

func TestWhatAUserMayNotDoIsNamed(t *testing.T) {
	read := func(op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "kafkalog-", Pattern: kmsg.ACLResourcePatternTypePrefixed, Operation: op, Allow: true}
	}
	c, admin, topic := onFake(t, 1, kafkalog.Config{SASL: &kafkalog.SASL{Mechanism: "plain", User: "admin", Password: "a"}},
		kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "a"),
		kfake.User("PLAIN", "reader", "r", read(kmsg.ACLOperationRead), read(kmsg.ACLOperationDescribe)))
	if err := roundtrip(t, admin, topic); err != nil {
		t.Fatal(err)
	}
	log := open(t, kafkalog.Config{Brokers: c.ListenAddrs(), SASL: &kafkalog.SASL{Mechanism: "plain", User: "reader", Password: "r"}})
	if run, err := reader(t, log, topic, 0, 0).Next(patient(t)); err != nil || len(run) != 1 {
		t.Fatalf("%d records, %v: a reader may read", len(run), err)
	}
	_, err := log.Append(t.Context(), topic, 0, batch("x"))
	if err == nil || nothingAppended(err) || !strings.Contains(strings.ToLower(err.Error()), "authoriz") {
		t.Fatalf("append: %v, want the missing right named", err)
	}
	err = log.Ensure(t.Context(), eventlog.Topic{Name: "mine", Partitions: 1})
	if err == nil || !strings.Contains(err.Error(), "AUTHORIZATION") {
		t.Fatalf("ensure: %v, want the missing right named", err)
	}
	wantEnd(t, admin, topic, 0, 1)
}

func TestTheLoggerHearsOfLostBrokers(t *testing.T) {
	var out bytes.Buffer
	c, log, topic := onFake(t, 1, kafkalog.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	r := reader(t, log, topic, 0, 0)
	go func() { _, _ = r.Next(patient(t)) }()
	<-time.After(50 * time.Millisecond)
	c.Close()
	<-time.After(500 * time.Millisecond)
	began := time.Now()
	log.Close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("close without brokers took %v", took)
	}
	if !strings.Contains(out.String(), "level=WARN") && !strings.Contains(out.String(), "level=ERROR") {
		t.Fatalf("nothing was logged: %q", out.String())
	}
}
