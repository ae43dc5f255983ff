// Package bench measures Drivetrain beside floors, in one run: what nobody who
// answers durable commands over HTTP can do without.
//
//	make bench CELL=3s REPEAT=3     the table, then the benchmarks of the packages
//	go test ./tests/bench           the same with cells of 60 ms, as a test of it
//
// The rows, each at 1, 64 and 1,024 callers who wait for an answer before they
// ask again:
//
//	bare log                  one pre-encoded record each on the same driver; per partition
//	                          one batch in flight, made of what waits
//	App.Execute               a counter, 10,000 aggregates on 16 partitions; floor: bare log
//	bare chi                  a handler that reads and checks nothing and answers the same
//	                          bytes; nothing is appended
//	bare chi on bare log      the same, after it has appended as bare log does
//	api.Handler               App.Execute over HTTP; floors: both of the chi rows
//	bare chi on bare Redis    a handler that asks Redis for the same field of the same hash
//	                          and answers with it
//	view by key               a document over HTTP, from the Redis that REDIS_ADDR names;
//	                          floor: bare chi on bare Redis, by processor time
//
// They run on the log in a file, and on Kafka where the environment names the
// three servers. A floor appends to a topic of its own on the log that the
// application has open. Rows take turns within a round, each round begins with an
// empty log, and a figure is the median over rounds; a ratio is the median of the
// rounds' ratios.
//
// CPU is that of the process that answers: callers in process are part of it,
// callers over HTTP are not, for they are a second process with one kept
// connection each. That process takes its time from the same processors, of the
// floors and of ours alike. Kafka's own is not counted. What else ran on the
// machine is watched in /proc/stat, and a warning says when it was not calm.
//
// The environment may set BENCH_CELL (time per cell), BENCH_REPEAT (rounds),
// BENCH_CALLERS (such as "64"), BENCH_ROWS (an expression for the rows that are
// run, such as "^App") and BENCH_DIR (where the log's file lies: its disk is what
// is measured).
//
// File map: bench_test.go is the run; rows_test.go what is measured, and
// queries_test.go what of views; load_test.go
// the callers and client_test.go those over HTTP; machine_test.go processor time
// and disk; table_test.go the figures. check_test.go shows that the tools measure
// what they say.
package bench
