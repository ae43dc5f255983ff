package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/drivetrain-go/drivetrain/framework/eventlog"
)

// Times of a group. A join or a sync takes at most the rebalance timeout, which
// is less than the session: so a member that hears nothing for a session has
// lost the group, whatever it was waiting for.
const (
	sessionTimeout    = 6 * time.Second // what brokers allow at least, by default
	heartbeatInterval = time.Second
	rebalanceTimeout  = 4 * time.Second
	leaveTimeout      = 2 * time.Second
)

var _ eventlog.Assigner = (*Log)(nil)

// Join implements [eventlog.Assigner] by a consumer group of the cooperative
// sticky kind, which moves no more partitions than it must. The member reads no
// records and commits no offsets. Join does not wait for the group.
//
// A member that closes, or whose log closes, is replaced within about a second;
// one that dies within the session of 6 s. With an instance a process that died
// and is back by then finds its partitions untouched. A process that has not
// heard of the group for a session has no partitions until it does again.
//
// Next waits out brokers that are gone. It fails for good, and the member takes
// part no more, when another process joined with the same instance, or when the
// brokers refuse the group; the error names group and instance and says what to
// do. A member with such an error, or closed, has no partitions.
func (l *Log) Join(ctx context.Context, group, topic, instance string) (eventlog.Membership, error) {
	m, err := l.join(ctx, group, topic, instance)
	if err != nil {
		return nil, fmt.Errorf("join group %q for topic %s: %w", group, topic, err)
	}
	return m, nil
}

func (l *Log) join(ctx context.Context, group, topic, instance string) (*member, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case group == "":
		return nil, errors.New("the group has no name; give it one that the processes of one application share")
	}
	if err := l.find(ctx, topic, 0); err != nil {
		return nil, err
	}
	m := newMember(l, group, topic, instance)
	var err error
	if m.client, err = kgo.NewClient(append(l.cfg.options(l.sender.auth), m.options()...)...); err != nil {
		return nil, err
	}
	l.mu.Lock()
	closed := l.ctx.Err() != nil
	if !closed {
		l.members[m] = struct{}{}
	}
	l.mu.Unlock()
	go m.run()
	if closed {
		return nil, errors.Join(eventlog.ErrClosed, m.Close())
	}
	return m, nil
}

// leaveAll closes the members that are left, all at once.
func (l *Log) leaveAll() {
	l.mu.Lock()
	members := l.members
	l.members = nil
	l.mu.Unlock()
	var all sync.WaitGroup
	for m := range members {
		all.Go(func() {
			if err := m.Close(); err != nil {
				l.cfg.Logger.Warn("a member did not leave its group", "error", err)
			}
		})
	}
	all.Wait()
}

// member is a franz-go client that takes part in a group. Its callbacks keep
// the set of partitions; Next looks at it when it likes, so nothing queues up.
//
// franz-go gives its partitions up as soon as no broker can be dialed. The
// member holds on to them, and claims them when it joins again, until its
// session has ended or a broker says that it is not in the group any more: a
// broker that restarts shall not move all partitions of all processes.
type member struct {
	log                    *Log
	group, topic, instance string
	client                 *kgo.Client
	quiet                  *time.Timer // runs out when nothing was heard for a session

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	done chan struct{} // closed when run has ended
	once sync.Once
	left error // what Close returns

	mu      sync.Mutex
	held    map[int32]struct{} // as the group has it
	adrift  bool               // franz-go has given held up, the group not yet
	silent  bool               // nothing was heard for a session
	synced  bool               // the group has said what is this member's, perhaps nothing
	told    bool               // Next has returned a set
	given   []int32            // the last
	failed  error              // for good
	changed chan struct{}      // closed at the next change
}

var (
	_ eventlog.Membership      = (*member)(nil)
	_ kgo.HookBrokerE2E        = (*member)(nil)
	_ kgo.HookGroupManageError = (*member)(nil)
	_ kgo.GroupBalancer        = claimer{}
)

func newMember(l *Log, group, topic, instance string) *member {
	m := &member{
		log: l, group: group, topic: topic, instance: instance,
		done: make(chan struct{}), held: make(map[int32]struct{}), changed: make(chan struct{}),
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.quiet = time.AfterFunc(sessionTimeout, m.expired)
	return m
}

func (m *member) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumerGroup(m.group),
		kgo.ConsumeTopics(m.topic),
		kgo.Balancers(claimer{kgo.CooperativeStickyBalancer(), m}),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.AdjustFetchOffsetsFn(nowhere),
		kgo.OnPartitionsAssigned(m.assigned),
		kgo.OnPartitionsRevoked(m.revoked),
		kgo.OnPartitionsLost(m.lost),
		kgo.WithHooks(m),
	}
	if m.instance != "" {
		opts = append(opts, kgo.InstanceID(m.instance))
	}
	return opts
}

// nowhere gives a client no offset to read from for the partitions assigned to
// it, so it neither fetches nor lists any.
func nowhere(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	return nil, nil
}

// claimer is a balancer that also claims what a member holds on to.
type claimer struct {
	kgo.GroupBalancer
	*member
}

// JoinGroupMetadata implements franz-go's balancer.
func (c claimer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	c.mu.Lock()
	if c.adrift {
		owned = map[string][]int32{c.topic: slices.Sorted(maps.Keys(c.held))}
	}
	c.mu.Unlock()
	return c.GroupBalancer.JoinGroupMetadata(topics, owned, generation)
}

// assigned adds partitions. After it was adrift they are all that the member
// has; the group gives those that it claimed in vain to others once it joins
// without them.
func (m *member) assigned(_ context.Context, client *kgo.Client, more map[string][]int32) {
	inVain := false
	m.change(func() {
		m.synced = true
		if m.adrift {
			inVain = slices.ContainsFunc(slices.Collect(maps.Keys(m.held)), func(p int32) bool { return !slices.Contains(more[m.topic], p) })
			m.drop()
		}
		for _, p := range more[m.topic] {
			m.held[p] = struct{}{}
		}
	})
	if inVain {
		client.ForceRebalance()
	}
}

func (m *member) revoked(_ context.Context, _ *kgo.Client, less map[string][]int32) {
	m.change(func() {
		for _, p := range less[m.topic] {
			delete(m.held, p)
		}
	})
}

func (m *member) lost(context.Context, *kgo.Client, map[string][]int32) {
	m.change(func() {
		if m.adrift = len(m.held) > 0; m.silent {
			m.drop()
		}
	})
}

// drop forgets what the member holds. The caller has locked mu.
func (m *member) drop() {
	m.adrift = false
	clear(m.held)
}

// OnGroupManageError implements franz-go's hook, which follows lost. If it is a
// broker that ended the membership, there is nothing to hold on to.
func (m *member) OnGroupManageError(err error) {
	var said *kerr.Error
	if !errors.As(err, &said) {
		return
	}
	switch said {
	case kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.RebalanceInProgress:
	default:
		m.change(m.drop)
	}
}

// expired runs when the member has not heard of its group for a session.
func (m *member) expired() {
	m.change(func() {
		if m.silent = true; m.adrift {
			m.drop()
		}
	})
}

// OnBrokerE2E implements franz-go's hook: it starts the session anew with each
// answer that a coordinator gives, unless the member is adrift.
func (m *member) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat:
	default:
		return
	}
	if e2e.Err() != nil || m.ctx.Err() != nil {
		return
	}
	m.change(func() {
		if !m.adrift {
			m.silent = false
			m.quiet.Reset(sessionTimeout)
		}
	})
}

// change does what changes the set and wakes those who wait for it.
func (m *member) change(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do()
	close(m.changed)
	m.changed = make(chan struct{})
}

// run drains what the client has to tell, which is only why it lost the group,
// and ends it when there is no way back.
func (m *member) run() {
	defer close(m.done)
	for {
		fetches := m.client.PollFetches(m.ctx)
		if m.ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		for _, e := range fetches.Errors() {
			if remedy := hopeless(e.Err); remedy != "" {
				m.change(func() { m.failed = fmt.Errorf("%w; %s", e.Err, remedy) })
				m.client.Close()
				return
			}
		}
	}
}

// hopeless returns what to do about an error that does not pass by itself.
func hopeless(err error) string {
	for refusal, remedy := range map[*kerr.Error]string{
		kerr.FencedInstanceID:          "another process joined with the same instance: let each have its own, and stop one of these",
		kerr.GroupAuthorizationFailed:  "let this user read the group",
		kerr.TopicAuthorizationFailed:  "let this user read the topic",
		kerr.InconsistentGroupProtocol: "others use this group in another way: choose another group",
		kerr.InvalidGroupID:            "choose another group",
		kerr.InvalidSessionTimeout:     "set the brokers' group.min.session.timeout.ms to 6000 or less",
		kerr.UnsupportedVersion:        "use brokers of Kafka 3.0 or later",
	} {
		if errors.Is(err, refusal) {
			return remedy
		}
	}
	return ""
}

// Next implements [eventlog.Membership]. Changes between two calls are one, or
// none if the set is again what it was. An empty set is returned too.
func (m *member) Next(ctx context.Context) ([]int32, error) {
	for {
		set, news, err := m.take()
		if err == nil && news == nil {
			return set, nil
		}
		if err == nil {
			select {
			case <-news:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			case <-m.ctx.Done():
				err = eventlog.ErrClosed
			}
		}
		return nil, fmt.Errorf("partitions of topic %s in %s: %w", m.topic, m.name(), err)
	}
}

// take returns the set if it differs from what was returned last, or else a
// channel that tells of the next change.
func (m *member) take() (set []int32, news <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ctx.Err() != nil:
		return nil, nil, eventlog.ErrClosed
	case m.failed != nil:
		return nil, nil, m.failed
	}
	if !m.silent {
		set = slices.Sorted(maps.Keys(m.held))
	}
	if slices.Equal(set, m.given) && (m.told || !m.synced) {
		return nil, m.changed, nil
	}
	m.given, m.told = set, true
	return append([]int32{}, set...), nil, nil
}

func (m *member) name() string {
	if m.instance == "" {
		return fmt.Sprintf("group %q", m.group)
	}
	return fmt.Sprintf("group %q, instance %q", m.group, m.instance)
}

// Close implements [eventlog.Membership]. Where no broker answers it takes some
// seconds, less than 10, and others take over only once the session has ended,
// as the error says. Closing it again does nothing.
func (m *member) Close() error {
	m.once.Do(func() {
		m.log.mu.Lock()
		delete(m.log.members, m)
		m.log.mu.Unlock()
		m.stop()
		m.quiet.Stop()
		<-m.done
		if err := m.leave(); err != nil {
			m.left = fmt.Errorf("leave %s: %w; its partitions move within %v", m.name(), err, sessionTimeout)
		}
		m.client.Close()
	})
	return m.left
}

// leave tells the coordinator. For an instance franz-go does not, since it might
// soon be back.
func (m *member) leave() error {
	if m.failed != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := m.client.LeaveGroupContext(ctx)
	if id, _ := m.client.GroupMetadata(); err == nil && id != "" && m.instance != "" {
		err = m.leaveAs(ctx, id)
	}
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedInstanceID) {
		return nil // it is not in the group, or another is in its place
	}
	return err
}

// leaveAs names the member beside its instance: another process that has the
// instance by now stays.
func (m *member) leaveAs(ctx context.Context, id string) error {
	who := kmsg.NewLeaveGroupRequestMember()
	who.MemberID, who.InstanceID = id, &m.instance
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.Members = m.group, []kmsg.LeaveGroupRequestMember{who}
	resp, err := req.RequestWith(ctx, m.client)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	for _, left := range resp.Members {
		err = errors.Join(err, kerr.ErrorForCode(left.ErrorCode))
	}
	return err
}
