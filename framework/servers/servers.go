// Package servers runs an application on Kafka, Redis and Elasticsearch: one
// process, or several that share the partitions.
//
//	app := framework.New(servers.FromEnv("./data"))
//
// takes the servers from the environment, and with none named there runs the
// application embedded. A program that has its own configuration fills in a
// [Config]. [PublisherFromEnv] is the way of an application's effects to others.
package servers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/drivetrain-go/drivetrain/framework"
	"github.com/drivetrain-go/drivetrain/framework/bus"
	"github.com/drivetrain-go/drivetrain/framework/embedded"
	"github.com/drivetrain-go/drivetrain/framework/event"
	"github.com/drivetrain-go/drivetrain/framework/eventlog/kafkalog"
	"github.com/drivetrain-go/drivetrain/framework/snapshot"
	"github.com/drivetrain-go/drivetrain/framework/view/esstore"
	"github.com/drivetrain-go/drivetrain/framework/view/redisstore"
	"github.com/drivetrain-go/drivetrain/internal/clock"
)

// Config names the servers and how to reach them.
type Config struct {
	Kafka         kafkalog.Config
	Redis         redis.UniversalOptions // more than one address: a cluster
	Elasticsearch esstore.Config
	// Dir is a folder of this process's own. It keeps the name by which the
	// process is known over restarts, so that a quick one moves no partition.
	Dir string
	// Snapshots keeps copies of what the folds hold; default: folder snapshots in
	// Dir. One that all processes reach lets partitions move without being folded
	// from their beginning.
	Snapshots snapshot.BlobStore
}

// Framework returns the framework's configuration. Its Open fails with what is
// missing or cannot be reached.
func (c Config) Framework() framework.Config { return framework.Config{Open: c.open} }

func (c Config) open(ctx context.Context) (r framework.Resources, err error) {
	if err := c.check(); err != nil {
		return r, err
	}
	if r.Instance, err = instance(c.Dir); err != nil {
		return r, err
	}
	if r.Snapshots = c.Snapshots; r.Snapshots == nil {
		if r.Snapshots, err = snapshot.Dir(filepath.Join(c.Dir, embedded.Snapshots)); err != nil {
			return r, err
		}
	}
	log, err := kafkalog.Open(ctx, c.Kafka)
	if err != nil {
		return r, fmt.Errorf("open the log: %w", err)
	}
	search, err := esstore.New(c.Elasticsearch)
	if err != nil {
		return r, errors.Join(err, log.Close())
	}
	if c.Redis.MaintNotificationsConfig == nil { // asks for what only Redis Enterprise has
		c.Redis.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
	client := redis.NewUniversalClient(&c.Redis)
	r.Log, r.Documents, r.Search = log, redisstore.New(client), search
	r.Close = func() error { return errors.Join(log.Close(), client.Close(), search.Close()) }
	return r, nil
}

// Publisher returns a publisher of messages to topics beside the log, on the same
// brokers and with the same TLS and SASL, which are put into b. It connects when it
// is used; the caller closes it.
func (c Config) Publisher(b bus.Config) (message.Publisher, error) {
	auth, err := c.Kafka.SASL.ForKafkaGo()
	if err != nil {
		return nil, fmt.Errorf("servers: %w", err)
	}
	b.Brokers, b.TLS, b.SASL = c.Kafka.Brokers, c.Kafka.TLS, auth
	return bus.Publisher(b)
}

func (c Config) check() error {
	var missing []string
	for name, absent := range map[string]bool{"Kafka.Brokers": len(c.Kafka.Brokers) == 0, "Redis.Addrs": len(c.Redis.Addrs) == 0,
		"Elasticsearch.URLs": len(c.Elasticsearch.URLs) == 0, "Dir": c.Dir == ""} {
		if absent {
			missing = append(missing, name)
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		return fmt.Errorf("servers: set %s", list(missing))
	}
	return nil
}

// instance returns the process's lasting name, which it makes at the first start.
func instance(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the data folder: %w; name another one", err)
	}
	path := filepath.Join(dir, "instance")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		name := clock.NewID(clock.System).String()
		if err := os.WriteFile(path+".new", []byte(name+"\n"), 0o600); err != nil {
			return "", err
		}
		return name, os.Rename(path+".new", path)
	}
	if err != nil {
		return "", err
	}
	id, err := event.ParseID(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s does not hold the process's name: %w; delete it to get a new one", path, err)
	}
	return id.String(), nil
}

// The variables that FromEnv reads.
const (
	envKafka  = "KAFKA_BROKERS"
	envRedis  = "REDIS_ADDR"
	envSearch = "ELASTICSEARCH_URL"
)

// Named reports whether the environment names servers, so that FromEnv does not
// run the application embedded.
func Named() bool {
	return os.Getenv(envKafka) != "" || os.Getenv(envRedis) != "" || os.Getenv(envSearch) != ""
}

// FromEnv returns a configuration from these variables, several addresses joined
// by commas:
//
//	KAFKA_BROKERS      host:port; KAFKA_TLS=yes; KAFKA_SASL (plain, scram-sha-256 or
//	                   scram-sha-512), KAFKA_USER, KAFKA_PASSWORD
//	REDIS_ADDR         host:port; REDIS_TLS=yes; REDIS_USER, REDIS_PASSWORD
//	ELASTICSEARCH_URL  http or https; ELASTICSEARCH_USER, ELASTICSEARCH_PASSWORD, or
//	                   ELASTICSEARCH_API_KEY
//
// With none of the three servers named, it is embedded.Config(dir); with only one
// or two, Run fails and says which is missing.
func FromEnv(dir string) framework.Config {
	if !Named() {
		return embedded.Config(dir)
	}
	if err := missing(); err != nil {
		return framework.Config{Open: func(context.Context) (framework.Resources, error) { return framework.Resources{}, err }}
	}
	return fromEnv(dir).Framework()
}

// missing returns an error if the environment names some of the servers and not
// the others.
func missing() error {
	var names []string
	for _, name := range []string{envKafka, envRedis, envSearch} {
		if os.Getenv(name) == "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("set %s too, or none of %s, %s and %s to run embedded", list(names), envKafka, envRedis, envSearch)
}

// PublisherFromEnv is Config.Publisher on the brokers that the environment names
// for FromEnv, or bus.Embedded where it names no server.
func PublisherFromEnv(b bus.Config) (message.Publisher, error) {
	if !Named() {
		return bus.Embedded(b.Logger), nil
	}
	if err := missing(); err != nil {
		return nil, err
	}
	return fromEnv("").Publisher(b)
}

func fromEnv(dir string) Config {
	return Config{
		Kafka: Kafka(),
		Redis: redis.UniversalOptions{Addrs: addresses(envRedis), TLSConfig: secure("REDIS_TLS"),
			Username: os.Getenv("REDIS_USER"), Password: os.Getenv("REDIS_PASSWORD")},
		Elasticsearch: esstore.Config{URLs: addresses(envSearch), User: os.Getenv("ELASTICSEARCH_USER"),
			Password: os.Getenv("ELASTICSEARCH_PASSWORD"), APIKey: os.Getenv("ELASTICSEARCH_API_KEY")},
		Dir: dir,
	}
}

// Kafka returns what FromEnv reads of Kafka's variables, for programs that look
// at the log alone. Without KAFKA_BROKERS it has no Brokers.
func Kafka() kafkalog.Config {
	c := kafkalog.Config{Brokers: addresses(envKafka), TLS: secure("KAFKA_TLS")}
	if user := os.Getenv("KAFKA_USER"); user != "" {
		c.SASL = &kafkalog.SASL{Mechanism: os.Getenv("KAFKA_SASL"), User: user, Password: os.Getenv("KAFKA_PASSWORD")}
	}
	return c
}

// addresses returns those that a variable joins by commas, or none.
func addresses(name string) []string {
	if os.Getenv(name) == "" {
		return nil
	}
	list := strings.Split(os.Getenv(name), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func secure(name string) *tls.Config {
	if os.Getenv(name) != "yes" {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12}
}

func list(names []string) string { return strings.Join(names, " and ") }
