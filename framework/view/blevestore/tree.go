package blevestore

import (
	"bytes"
	"slices"
)

// row is a key and its value, never changed once it is in a tree.
type row struct{ key, value []byte }

// fanout is the most rows of a leaf and children of an inner node. A batch
// copies each node that it touches once, so small nodes favour small batches.
const fanout = 32

// node is a node of a persistent B+ tree. Trees share nodes: an edit changes
// those that it made itself and copies the others, so whoever holds a root
// reads one version for ever. Deleting does not balance; nodes go when empty.
type node struct {
	made     *edit
	rows     []row    // of a leaf
	least    [][]byte // of an inner node: no key under children[i] is below least[i], but for i = 0
	children []*node
}

// edit is one batch's right to change the nodes that it made. It has a size,
// for pointers to empty structs may be equal.
type edit struct{ _ byte }

func (n *node) leaf() bool { return n.children == nil }

// own returns n, or a copy, for e to change.
func (n *node) own(e *edit) *node {
	if n.made == e {
		return n
	}
	c := &node{made: e}
	if n.leaf() {
		c.rows = append(make([]row, 0, fanout+1), n.rows...)
		return c
	}
	c.least = append(make([][]byte, 0, fanout+1), n.least...)
	c.children = append(make([]*node, 0, fanout+1), n.children...)
	return c
}

// find returns the place of key in a leaf, and whether it is there.
func (n *node) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(n.rows, key, func(r row, key []byte) int { return bytes.Compare(r.key, key) })
}

// child returns the place of the child that key belongs to.
func (n *node) child(key []byte) int {
	i, exact := slices.BinarySearchFunc(n.least[1:], key, bytes.Compare)
	if exact {
		i++
	}
	return i
}

// get returns the value of key, nil if there is none. A nil node is an empty
// tree, here and below.
func (n *node) get(key []byte) []byte {
	if n == nil {
		return nil
	}
	for !n.leaf() {
		n = n.children[n.child(key)]
	}
	if i, ok := n.find(key); ok {
		return n.rows[i].value
	}
	return nil
}

// set returns the root of a tree that holds r too.
func (n *node) set(e *edit, r row) *node {
	if n == nil {
		return &node{made: e, rows: append(make([]row, 0, fanout+1), r)}
	}
	left, right := n.insert(e, r)
	if right == nil {
		return left
	}
	return &node{made: e, least: [][]byte{nil, right.first()}, children: []*node{left, right}}
}

// first returns the least key that may be under the right half of a split.
func (n *node) first() []byte {
	if n.leaf() {
		return n.rows[0].key
	}
	return n.least[0]
}

// insert returns n with r in it, in two halves if it has become too large.
func (n *node) insert(e *edit, r row) (left, right *node) {
	left = n.own(e)
	if left.leaf() {
		i, there := left.find(r.key)
		if there {
			left.rows[i] = r
			return left, nil
		}
		left.rows = slices.Insert(left.rows, i, r)
		return left.split(e)
	}
	i := left.child(r.key)
	a, b := left.children[i].insert(e, r)
	left.children[i] = a
	if b != nil {
		left.children = slices.Insert(left.children, i+1, b)
		left.least = slices.Insert(left.least, i+1, b.first())
	}
	return left.split(e)
}

func (n *node) split(e *edit) (left, right *node) {
	if len(n.rows) <= fanout && len(n.children) <= fanout {
		return n, nil
	}
	right = &node{made: e}
	if n.leaf() {
		half := len(n.rows) / 2
		right.rows = append(make([]row, 0, fanout+1), n.rows[half:]...)
		n.rows = slices.Delete(n.rows, half, len(n.rows))
		return n, right
	}
	half := len(n.children) / 2
	right.children = append(make([]*node, 0, fanout+1), n.children[half:]...)
	right.least = append(make([][]byte, 0, fanout+1), n.least[half:]...)
	n.children = slices.Delete(n.children, half, len(n.children))
	n.least = slices.Delete(n.least, half, len(n.least))
	return n, right
}

// remove returns the root of a tree without key, nil once it is empty.
func (n *node) remove(e *edit, key []byte) *node {
	if n.get(key) == nil {
		return n
	}
	n = n.cut(e, key)
	for n != nil && len(n.children) == 1 {
		n = n.children[0]
	}
	return n
}

// cut takes out key, which is there, and nodes that it leaves empty.
func (n *node) cut(e *edit, key []byte) *node {
	n = n.own(e)
	if n.leaf() {
		i, _ := n.find(key)
		n.rows = slices.Delete(n.rows, i, i+1)
		if len(n.rows) == 0 {
			return nil
		}
		return n
	}
	i := n.child(key)
	if n.children[i] = n.children[i].cut(e, key); n.children[i] != nil {
		return n
	}
	n.children = slices.Delete(n.children, i, i+1)
	n.least = slices.Delete(n.least, i, i+1)
	if len(n.children) == 0 {
		return nil
	}
	return n
}

// cursor walks a tree's rows upward. The zero cursor is behind the last.
type cursor struct {
	path []step // from the root down; the last is a leaf
}

type step struct {
	n *node
	i int
}

// seek goes to the first row at or behind key.
func (c *cursor) seek(root *node, key []byte) {
	c.path = c.path[:0]
	if root == nil {
		return
	}
	n := root
	for ; !n.leaf(); n = n.children[c.path[len(c.path)-1].i] {
		c.path = append(c.path, step{n, n.child(key)})
	}
	i, _ := n.find(key)
	c.path = append(c.path, step{n, i})
	c.settle()
}

func (c *cursor) next() {
	if len(c.path) > 0 {
		c.path[len(c.path)-1].i++
		c.settle()
	}
}

// settle moves a cursor that stands behind its leaf's end to the next leaf.
func (c *cursor) settle() {
	last := &c.path[len(c.path)-1]
	if last.i < len(last.n.rows) {
		return
	}
	c.path = c.path[:len(c.path)-1]
	for len(c.path) > 0 {
		up := &c.path[len(c.path)-1]
		if up.i++; up.i < len(up.n.children) {
			n := up.n.children[up.i]
			for ; !n.leaf(); n = n.children[0] {
				c.path = append(c.path, step{n, 0})
			}
			c.path = append(c.path, step{n, 0})
			return
		}
		c.path = c.path[:len(c.path)-1]
	}
}

// row returns where the cursor stands, nil behind the last.
func (c *cursor) row() *row {
	if len(c.path) == 0 {
		return nil
	}
	last := &c.path[len(c.path)-1]
	return &last.n.rows[last.i]
}
