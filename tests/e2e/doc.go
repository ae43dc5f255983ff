// Package e2e holds the tests that run the built Drivetribe as its users do:
// as a process, over HTTP, killed and started again. An auditor of its own then
// reads the log's file and says whether all is there; it shares no code with
// what it audits.
//
//	go test ./tests/e2e                        3,000 commands
//	E2E_COMMANDS=20000 go test -v ./tests/e2e  as make e2e does
//
// The environment may set E2E_COMMANDS, E2E_SEED, in E2E_OUTAGE how long a
// server is away, such as 60s, and the sizes of a rebuild under fire, as make rebuild
// does: REBUILD_EVENTS that are there before, without which there is none; REBUILD_READS and REBUILD_WRITES a second,
// REBUILD_RATE that a rebuild may take, fewer than it could, REBUILD_SECONDS that are measured before it, and
// REBUILD_P99, such as 25ms, that reads and commands may take meanwhile. Where it names servers by KAFKA_BROKERS, REDIS_ADDR
// and ELASTICSEARCH_URL, the program is killed, and its processes take over from
// one another, on these, and nothing is tested that is the same without them; the
// auditor then reads all three by clients of its own. Where it names, in SERVERS_DIR, scripts SERVER/up and SERVER/down and, in
// SERVERS_DATA, a folder, the tests start servers of their own, and kill, empty
// and slow these. With KAFKA_NODES=3 that Kafka is a cluster, and each of its
// nodes is killed too. What is not named is not tested.
//
// File map: program_test.go starts and ends processes; traffic_test.go sends
// commands and tally_test.go keeps what was sent and answered; log_test.go reads
// the log's file and fold_test.go says what is valid in it; model_test.go makes
// the views of the tally alone, and audit_test.go compares all of it.
// planted_test.go shows that the audit finds what is wrong. backend_test.go is what
// the program runs on, kafka_test.go and stores_test.go read the servers,
// servers_test.go and proxy_test.go start and fail some, for failure_test.go, and
// for brokers_test.go, where Kafka loses its nodes one by one; takeover_test.go and
// forward_test.go have two processes, effects_test.go reads what is sent to others.
// rebuild_test.go rebuilds views, by the program in the folder versions, which carries
// several of each: preload_test.go writes the events that are there before, fire_test.go
// sends requests at a fixed rate and checks each answer, queries_test.go is what is asked
// and sent, tending_test.go the operator's requests. flush_test.go empties Redis.
// The rest are tests of
// the program as a whole, named after what they try.
package e2e
