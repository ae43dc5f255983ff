// Package poison gives a program events that its views cannot fold, kills it by SIGKILL
// again and again, and compares its dead letters and what it shows with an oracle: the
// keys stay parked, all others go on, what is discarded stays so, and a newer version of
// the views, built beside and switched to, has it all.
//
//	go test ./tests/poison
//
// The program is this one again, on Kafka, Redis and Elasticsearch where the environment
// names these, else on what it embeds. program_test.go is the program, with a view of
// each kind of way: straight from the events, behind a shuffle, and searched;
// poison_test.go kills and compares.
package poison
