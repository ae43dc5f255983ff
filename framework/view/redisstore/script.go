package redisstore

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/drivetrain-go/drivetrain/framework/view"
)

// Names within a part's hash. A document's field begins with a colon, so that
// no key can meet the mark.
const (
	fieldEpoch  = "e"
	fieldNext   = "n"
	fieldListed = "s"
	document    = ":"
)

// open raises a part's epoch and returns the mark. HINCRBY's answer would pass
// through a Lua number, a double, so both are read as text. Of a new part all sets
// are listed.
var open = redis.NewScript(`
if redis.call('HINCRBY', KEYS[1], 'e', 1) == 1 then
	redis.call('HSETNX', KEYS[1], 's', '1')
end
local mark = redis.call('HMGET', KEYS[1], 'e', 'n')
return {mark[1], mark[2] or '0'}
`)

// write takes a batch if the part is at epoch ARGV[1] and offset ARGV[2], moves
// it to ARGV[3] and returns nothing; else it returns the mark. Numbers are
// compared as text, for Lua's are doubles. The rest of ARGV is calls: command,
// number of its key in KEYS, count of operands, operands. Documents are opaque
// here. UNLIST takes a set that is empty from the list of sets, KEYS[2]. The mark
// moves last, so a call that the server refuses half way leaves a part on which the
// same batch can be written again.
var write = redis.NewScript(`
local mark = redis.call('HMGET', KEYS[1], 'e', 'n')
local epoch, offset = mark[1] or '0', mark[2] or '0'
if epoch ~= ARGV[1] or offset ~= ARGV[2] then
	return {epoch, offset}
end
local at, count = 4, #ARGV
while at <= count do
	local last = at + 2 + tonumber(ARGV[at + 2])
	local key = KEYS[tonumber(ARGV[at + 1])]
	if ARGV[at] ~= 'UNLIST' then
		redis.call(ARGV[at], key, unpack(ARGV, at + 3, last))
	elseif redis.call('EXISTS', key) == 0 then
		redis.call('ZREM', KEYS[2], ARGV[last])
	end
	at = last + 1
end
redis.call('HSET', KEYS[1], 'n', ARGV[3])
return {}
`)

// perCall bounds the operands of one call: Lua's unpack puts them on a stack of
// 8,000. It is even, so that pairs stay together.
const perCall = 1000

// part returns the key of a part's hash, which is also the tag that all its
// keys begin with. Names are escaped, so that no two parts share a tag and no
// name ends it early.
func part(g view.Generation, partition int32) string {
	return "{" + generation(g) + strconv.Itoa(int(partition)) + "}"
}

func generation(g view.Generation) string {
	return url.QueryEscape(g.App) + ":" + url.QueryEscape(g.View) + ":" + strconv.Itoa(g.Number) + ":"
}

func set(part, name string) string { return part + ":" + name }

// list returns the key of the names of a part's sets, each behind a colon: miniredis
// takes a bare "+" or "-" for the end of all members, whatever stands before it.
func list(part string) string { return part + "=" }

// member returns an entry as Redis orders it: Sort holds no zero byte.
func member(sort, name string) string { return sort + "\x00" + name }

// encode returns the keys and arguments of the write script. Values are copied,
// since a call that was given up may still be sending them.
func encode(g view.Generation, b *view.Batch) (keys []string, args []any) {
	a := arguments{part: part(g, b.Partition)}
	a.keys = append(a.keys, a.part, list(a.part))
	a.args = append(a.args, strconv.FormatUint(b.Epoch, 10), strconv.FormatInt(b.From, 10), strconv.FormatInt(b.Next, 10))
	puts := make([]any, 0, 2*len(b.Puts))
	for i := range b.Puts {
		puts = append(puts, document+b.Puts[i].Key, string(b.Puts[i].Value))
	}
	a.call("HSET", 1, puts)
	deletes := make([]any, 0, len(b.Deletes))
	for i := range b.Deletes {
		deletes = append(deletes, document+b.Deletes[i].Key)
	}
	a.call("HDEL", 1, deletes)
	a.entries("ZREM", b.Removes)
	a.entries("ZADD", b.Adds)
	return a.keys, a.args
}

// arguments collects the keys and calls of one run of the write script.
type arguments struct {
	part  string
	keys  []string
	args  []any
	index map[string]int // number of a set's key in keys, from 1
}

// call adds a command with its operands, in pieces.
func (a *arguments) call(command string, key int, operands []any) {
	for piece := range slices.Chunk(operands, perCall) {
		a.args = append(a.args, command, key, len(piece))
		a.args = append(a.args, piece...)
	}
}

// entries adds a command for each set that occurs, in order of appearance.
func (a *arguments) entries(command string, entries []view.Entry) {
	bySet := make(map[int][]any)
	var order []int
	for i := range entries {
		key := a.key(entries[i].Set)
		if _, seen := bySet[key]; !seen {
			order = append(order, key)
		}
		if command == "ZADD" {
			bySet[key] = append(bySet[key], 0)
		}
		bySet[key] = append(bySet[key], member(entries[i].Sort, entries[i].Member))
	}
	for _, key := range order {
		a.call(command, key, bySet[key])
	}
	a.list(command, order)
}

// list adds to the list of sets those that have entries now, or takes from it those
// that have none any more.
func (a *arguments) list(command string, keys []int) {
	var added []any
	for _, key := range keys {
		name := strings.TrimPrefix(a.keys[key-1], a.part)
		if command == "ZADD" {
			added = append(added, 0, name)
		} else {
			a.call("UNLIST", key, []any{name})
		}
	}
	a.call("ZADD", 2, added)
}

// key returns the number of a set's key, which it declares at first sight.
func (a *arguments) key(name string) int {
	if n, ok := a.index[name]; ok {
		return n
	}
	if a.index == nil {
		a.index = make(map[string]int)
	}
	a.keys = append(a.keys, set(a.part, name))
	a.index[name] = len(a.keys)
	return len(a.keys)
}
