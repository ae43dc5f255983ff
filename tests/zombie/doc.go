// Package zombie pauses a writer of views on real stores while another one takes
// over, and lets it go on later, together with what it had sent and nothing had
// answered yet: its late writes must change nothing, however long ago what they
// write was deleted.
//
// It needs a Redis and an Elasticsearch, named by REDIS_ADDR and ELASTICSEARCH_URL;
// without both, nothing is tested. The writers are this program again, each with
// the same log in memory, as far as it is told to have read it; see writer_test.go.
// gate_test.go holds what a writer sends.
package zombie
