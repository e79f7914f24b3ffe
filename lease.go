package plane

import "time"

// Policy is how a backend's lease trades a quick take-over against the length
// of an outage that it survives.
type Policy string

// The policies.
const (
	Fast     Policy = "fast"
	Balanced Policy = "balanced"
	Sticky   Policy = "sticky"
)

// Policies lists the policies; a policy's index is its place in Epochs.
var Policies = []Policy{Fast, Balanced, Sticky}

// Index is the policy's place in Policies, -1 for an unknown one.
func (p Policy) Index() int {
	for i, q := range Policies {
		if p == q {
			return i
		}
	}
	return -1
}

// Valid reports whether p is a policy.
func (p Policy) Valid() bool { return p.Index() >= 0 }

// Terms are the times of a policy. With clocks that run at rates within ρ =
// 0.5 %, Holder·(1+ρ) + the time a kill takes + a margin ≤ Store·(1−ρ).
type Terms struct {
	Renew  time.Duration // between renewals
	Holder time.Duration // a backend is gone this long after the send of the last renewal that was answered; 0 = never
	Store  time.Duration // the store may grant the key anew this long after the last renewal; 0 = never
}

// Terms of the policy.
func (p Policy) Terms() Terms {
	switch p {
	case Fast:
		return Terms{Renew: 2 * time.Second, Holder: 7 * time.Second, Store: 9500 * time.Millisecond}
	case Sticky:
		return Terms{Renew: 5 * time.Second}
	default:
		return Terms{Renew: 5 * time.Second, Holder: 45 * time.Second, Store: 50 * time.Second}
	}
}

// ProofHorizon is Terms().Holder, or that of Balanced where there is none: how
// old the renewal that a grant names may be, and the base of a tombstone's life.
func (p Policy) ProofHorizon() time.Duration {
	if p == Sticky {
		return Balanced.Terms().Holder
	}
	return p.Terms().Holder
}

// TombstoneLife is how long a drone remembers an id that it refused.
func (p Policy) TombstoneLife() time.Duration { return p.ProofHorizon() + time.Second }

// Soft stop before a deadline: SIGTERM goes out this long, at most, before it.
const MaxDeadlineGrace = 2 * time.Second

// RetryRenewal is the pause between attempts of an unanswered renewal.
const RetryRenewal = 250 * time.Millisecond

// Epochs are a drone's lease epochs, one per policy (see Policies). A backend's
// row carries one of them and is alive only while it is current.
type Epochs [3]int64

// Of is the epoch of policy p, which must be valid.
func (e Epochs) Of(p Policy) int64 { return e[p.Index()] }

// Instant is a point on a machine's lease clock, in nanoseconds. It means
// nothing on another machine.
type Instant int64

// Add gives the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub gives the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Never is later than every deadline.
const Never = Instant(1<<63 - 1 - 16)

// StoreEpoch identifies one history of the store: it changes with a restore, an
// import or a database failover. Numbers only rise.
type StoreEpoch struct {
	StoreID string `json:"store_id"`
	Number  int64  `json:"number"`
}

// Grant is what a spawn message says of the lease it stands on.
type Grant struct {
	Policy  Policy     `json:"policy"`
	Epoch   int64      `json:"epoch"`
	Renewal int64      `json:"renewal"` // number of the last renewal that the store had committed
	Store   StoreEpoch `json:"store"`
}

// Lapsed is the store's side of the rule: whether a drone whose last renewal
// was committed at renewedAt has lost its keys of policy p at now, both on the
// database's clock.
func Lapsed(p Policy, renewedAt, now time.Time) bool {
	t := p.Terms().Store
	return t != 0 && now.After(renewedAt.Add(t))
}

// Holding is the holder's side: what one drone knows of its lease. It is a
// value; every method returns the next one.
type Holding struct {
	Epochs    Epochs
	Store     StoreEpoch // highest ever seen
	Attempt   int64      // number of the latest renewal attempt
	Committed int64      // number of the latest renewal that was answered
	SentAt    Instant    // when that one was sent
	Granted   bool       // whether any was ever answered in these epochs

	sent []sending // attempts that may still be answered or named by a grant, oldest first
}

type sending struct {
	number int64
	at     Instant
}

// Send notes an attempt that is about to be sent at now and returns its number.
func (h Holding) Send(now Instant) (Holding, int64) {
	h.Attempt++
	keep := h.sent
	for len(keep) > 0 && now.Sub(keep[0].at) > Balanced.Terms().Holder+time.Second {
		keep = keep[1:]
	}
	h.sent = append(keep[:len(keep):len(keep)], sending{h.Attempt, now})
	return h, h.Attempt
}

func (h Holding) sentAt(number int64) (Instant, bool) {
	for _, s := range h.sent {
		if s.number == number {
			return s.at, true
		}
	}
	return 0, false
}

// Renewed notes the store's answer to attempt number: the lease counts from
// that attempt's own send instant, never from the receipt and never from a
// later attempt's. It reports whether anything moved.
func (h Holding) Renewed(number int64) (Holding, bool) {
	at, ok := h.sentAt(number)
	if !ok || number <= h.Committed {
		return h, false
	}
	h.Committed, h.SentAt, h.Granted = number, at, true
	return h, true
}

// Raised notes that the store ended epochs: those that differ are new, and
// nothing of the old ones may run. It returns the policies that lapsed.
func (h Holding) Raised(epochs Epochs) (Holding, []Policy) {
	var lapsed []Policy
	for i, p := range Policies {
		if epochs[i] > h.Epochs[i] {
			h.Epochs[i] = epochs[i]
			lapsed = append(lapsed, p)
		}
	}
	return h, lapsed
}

// Deadline is the instant at which backends of policy p must be gone.
func (h Holding) Deadline(p Policy) Instant {
	t := p.Terms().Holder
	switch {
	case t == 0:
		return Never
	case !h.Granted:
		return 0
	}
	return h.SentAt.Add(t)
}

// Refusal says why a drone doesn't take a spawn; "" = it does.
type Refusal string

// The refusals.
const (
	RefusedEpoch      Refusal = "epoch"       // of an epoch that isn't current
	RefusedLate       Refusal = "late"        // the renewal it stands on is too old or unknown
	RefusedStoreEpoch Refusal = "store-epoch" // of an older store epoch
	RefusedTombstone  Refusal = "tombstone"   // already refused or ended here
	RefusedKeyInUse   Refusal = "key-in-use"  // another generation of the key still runs here
	RefusedClosing    Refusal = "closing"     // the drone takes nothing any more
)

// Accepts decides whether a spawn with grant g may start at now.
func (h Holding) Accepts(g Grant, now Instant) Refusal {
	if g.Store.StoreID != h.Store.StoreID && h.Store.StoreID != "" || g.Store.Number < h.Store.Number {
		return RefusedStoreEpoch
	}
	if !g.Policy.Valid() || g.Epoch != h.Epochs.Of(g.Policy) {
		return RefusedEpoch
	}
	at, ok := h.sentAt(g.Renewal)
	if !ok || now.Sub(at) >= g.Policy.ProofHorizon() || now >= h.Deadline(g.Policy) {
		return RefusedLate
	}
	return ""
}
