package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Op is a method of a store.
type Op string

// The methods that a fault may meet.
const (
	OpPut    Op = "put"
	OpGet    Op = "get"
	OpList   Op = "list"
	OpDelete Op = "delete"
)

// Fault is what goes wrong with one call to a MemoryStore. The zero Fault is
// none.
type Fault struct {
	Err    error               // what the call returns; nil: no error
	Lands  bool                // though it returns Err, it takes place: the answer got lost
	Mangle func([]byte) []byte // what a put stores, or a get yields, in the place of the blob's bytes, which it must not change; nil: them
}

// Hook is asked before each call to a MemoryStore; name is the blob's, or the
// prefix. A store is slow if its hook waits, which should end with ctx. It may be
// called from several goroutines, and may use the store.
type Hook func(ctx context.Context, op Op, name string) Fault

// MemoryStore is a BlobStore in memory, for tests. Make one with [Memory].
type MemoryStore struct {
	mu    sync.Mutex
	blobs map[string][]byte
	hook  Hook
}

var _ BlobStore = (*MemoryStore)(nil)

// Memory returns an empty store.
func Memory() *MemoryStore { return &MemoryStore{blobs: make(map[string][]byte)} }

// Inject makes hook decide what goes wrong from now on; nil: nothing.
func (m *MemoryStore) Inject(hook Hook) {
	m.mu.Lock()
	m.hook = hook
	m.mu.Unlock()
}

// fault asks the hook. The error is that of ctx.
func (m *MemoryStore) fault(ctx context.Context, op Op, name string) (Fault, error) {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	var f Fault
	if hook != nil {
		f = hook(ctx, op, name)
	}
	return f, ctx.Err()
}

// Put reads body into memory.
func (m *MemoryStore) Put(ctx context.Context, name string, body io.Reader) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("put blob %w", err)
	}
	f, err := m.fault(ctx, OpPut, name)
	if err == nil && f.Err != nil && !f.Lands {
		err = f.Err
	}
	var read bytes.Buffer
	if err == nil {
		_, err = read.ReadFrom(&inContext{ctx, body})
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", name, err)
	}
	b := read.Bytes()
	if f.Mangle != nil {
		b = f.Mangle(b)
	}
	m.mu.Lock()
	m.blobs[name] = b
	m.mu.Unlock()
	if f.Err != nil {
		return fmt.Errorf("put blob %s: %w", name, f.Err)
	}
	return nil
}

// Get returns a reader of the bytes kept.
func (m *MemoryStore) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("get blob %w", err)
	}
	f, err := m.fault(ctx, OpGet, name)
	if err == nil {
		err = f.Err
	}
	m.mu.Lock()
	b, found := m.blobs[name]
	m.mu.Unlock()
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", name, err)
	}
	if f.Mangle != nil {
		b = f.Mangle(b)
	}
	return io.NopCloser(&inContext{ctx, bytes.NewReader(b)}), nil
}

// List returns the names kept.
func (m *MemoryStore) List(ctx context.Context, prefix string) ([]string, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	f, err := m.fault(ctx, OpList, prefix)
	if err == nil {
		err = f.Err
	}
	if err != nil {
		return nil, fmt.Errorf("list blobs %s: %w", prefix, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.blobs {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete forgets a blob.
func (m *MemoryStore) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("delete blob %w", err)
	}
	f, err := m.fault(ctx, OpDelete, name)
	if err == nil {
		err = f.Err
	}
	if err == nil || f.Lands {
		m.mu.Lock()
		delete(m.blobs, name)
		m.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("delete blob %s: %w", name, err)
	}
	return nil
}
