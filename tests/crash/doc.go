// Package crash runs a topology of three stages in four processes on a real
// broker, kills processes by SIGKILL and starts them again while it works, and
// compares all that it has published with what an oracle makes of the inputs: no
// element lost, none double, whatever was killed when.
//
//	go test ./tests/crash                                      100,000 inputs, 3 kills
//	CRASH_INPUTS=1000000 CRASH_KILLS=20 go test -v ./tests/crash   as make crash does
//
// It runs on the broker that KAFKA_BROKERS names; without one nothing is run. The
// inputs follow from CRASH_SEED. Where the broker has several nodes, and SERVERS_DIR and
// SERVERS_DATA say how to stop and start them, each node is killed in turn, too, while
// inputs come: it is started again once others lead what it has led, and results have
// come without it.
//
// File map: shop is the topology and worker the program that runs it; oracle_test.go
// makes inputs and says what must come of them, with code of its own; topics_test.go
// writes and reads topics by a client of its own; crash_test.go kills and compares.
package crash
