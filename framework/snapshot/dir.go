package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// newFolder holds what is being written. No blob's name begins with it.
const newFolder = "+new"

// leftoverAge is how long nothing may have been written to a file in newFolder
// before it counts as left over by a process that ended.
const leftoverAge = time.Hour

// DirStore is a BlobStore in a folder of a file system that keeps its promises
// about rename and fsync. A blob is a file, under its name. Make one with [Dir].
type DirStore struct {
	root string
	sync func(*os.File) error // replaced by tests

	mu    sync.Mutex
	made  map[string]bool // folders that are durable
	swept time.Time       // by the file system's clock
}

var _ BlobStore = (*DirStore)(nil)

// Dir returns the store in a folder, which is made if there is none. Several
// processes may use it at once. What a Put left there that was killed is never
// listed, and removed once it is an hour old.
func Dir(path string) (*DirStore, error) {
	d := &DirStore{sync: (*os.File).Sync, made: make(map[string]bool)}
	fail := func(err error) (*DirStore, error) { return nil, fmt.Errorf("open snapshots in %s: %w", path, err) }
	root, err := filepath.Abs(path)
	if err != nil {
		return fail(err)
	}
	if err := d.makeFolder(filepath.Join(root, newFolder), existing(root)); err != nil {
		return fail(err)
	}
	if d.root, err = filepath.EvalSymlinks(root); err != nil {
		return fail(err)
	}
	probe, err := d.create()
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return fail(err)
	}
	return d, nil
}

// Put writes a file beside and renames it, each followed by an fsync.
func (d *DirStore) Put(ctx context.Context, name string, body io.Reader) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("put blob %w", err)
	}
	if err := d.put(ctx, name, body); err != nil {
		return fmt.Errorf("put blob %s: %w", name, err)
	}
	return nil
}

func (d *DirStore) put(ctx context.Context, name string, body io.Reader) (err error) {
	path := d.path(name)
	if err := d.makeFolder(filepath.Dir(path), d.root); err != nil {
		return err
	}
	tmp, err := d.create()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // swept later, if this fails
		}
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{tmp}, &inContext{ctx, body}, make([]byte, 256<<10))
	if err == nil {
		err = d.sync(tmp)
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		d.forget(filepath.Dir(path)) // somebody may have removed it
		return err
	}
	return d.syncFolder(filepath.Dir(path))
}

// create makes a file in newFolder, and sweeps that once an hour. Its file's
// time is taken for now, so that no other clock than the file system's counts.
func (d *DirStore) create() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(d.root, newFolder), "*")
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	d.mu.Lock()
	due := info.ModTime().Sub(d.swept) > leftoverAge
	if due {
		d.swept = info.ModTime()
	}
	d.mu.Unlock()
	if due {
		d.sweep(info.ModTime())
	}
	return f, nil
}

// sweep removes leftovers. What it cannot remove stays for the next time.
func (d *DirStore) sweep(now time.Time) {
	folder := filepath.Join(d.root, newFolder)
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > leftoverAge {
			_ = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}

// Get opens a blob's file.
func (d *DirStore) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("get blob %w", err)
	}
	f, err := d.get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", name, err)
	}
	return f, nil
}

func (d *DirStore) get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound // a folder
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{&inContext{ctx, f}, f}, nil
}

// List walks the folder that prefix names.
func (d *DirStore) List(ctx context.Context, prefix string) ([]string, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	var names []string
	folder := d.path(prefix[:strings.LastIndexByte(prefix, '/')+1])
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // there is none, or it was just deleted
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if e.Type().IsRegular() && strings.HasPrefix(name, prefix) && CheckName(name) == nil {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list blobs %s: %w", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}

// Delete removes a blob's file, and leaves its folder. That the file is gone is
// durable only some time later.
func (d *DirStore) Delete(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("delete blob %w", err)
	}
	err := ctx.Err()
	if err == nil {
		err = d.remove(d.path(name))
	}
	if err != nil {
		return fmt.Errorf("delete blob %s: %w", name, err)
	}
	return nil
}

func (d *DirStore) remove(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() { // a folder is no blob
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *DirStore) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// existing returns the last folder on the way to path that there is.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

// makeFolder makes a folder below top, and those between, and all of them
// durable: another process may have made them, and not have come so far.
func (d *DirStore) makeFolder(folder, top string) error {
	d.mu.Lock()
	made := d.made[folder]
	d.mu.Unlock()
	if made {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for at := folder; at != top; at = filepath.Dir(at) {
		if err := d.syncFolder(filepath.Dir(at)); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.made[folder] = true
	d.mu.Unlock()
	return nil
}

func (d *DirStore) forget(folder string) {
	d.mu.Lock()
	delete(d.made, folder)
	d.mu.Unlock()
}

func (d *DirStore) syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.sync(f), f.Close())
}

// inContext is a reader whose reads fail once ctx has ended.
type inContext struct {
	ctx context.Context
	r   io.Reader
}

func (r *inContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
