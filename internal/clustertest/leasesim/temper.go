package leasesim

import (
	"math"
	"time"
)

// temper is how bad a run's world is. Every seed draws its own, so that each
// kind of trouble is sometimes rare enough for the others to have effect.
type temper struct {
	loss, twice    float64 // of messages
	late, slow     float64 // minutes, and seconds
	pause          float64 // of a controller, between read and write
	stop           float64 // of a connect, that somebody ends the backend instead
	life           time.Duration
	partition      time.Duration // this and the following: mean time between, per drone
	sigstop, crash time.Duration
	reboot, orphan time.Duration
	wall           time.Duration
	down, dbstep   time.Duration // of the database
	failover       time.Duration
}

func (c chance) odds(a, b float64) float64 {
	return a * math.Pow(b/a, c.Float64())
}

func (c chance) every(a, b time.Duration) time.Duration {
	return time.Duration(c.odds(float64(a), float64(b)))
}

func drawTemper(c chance) temper {
	return temper{
		loss:      c.odds(0.005, 0.2),
		twice:     c.odds(0.005, 0.2),
		late:      c.odds(0.005, 0.2),
		slow:      c.odds(0.02, 0.3),
		pause:     c.odds(0.01, 0.3),
		stop:      c.odds(0.01, 0.1),
		life:      c.every(20*time.Second, 5*time.Minute),
		partition: c.every(time.Minute, 6*time.Minute),
		sigstop:   c.every(time.Minute, 10*time.Minute),
		crash:     c.every(time.Minute, 10*time.Minute),
		reboot:    c.every(3*time.Minute, 30*time.Minute),
		orphan:    c.every(time.Minute, 10*time.Minute),
		wall:      c.every(time.Minute, 10*time.Minute),
		down:      c.every(2*time.Minute, 20*time.Minute),
		dbstep:    c.every(3*time.Minute, time.Hour),
		failover:  c.every(100*time.Second, 10*time.Minute),
	}
}

// provoke makes the weather in which the lack of a rule shows. All rules
// together must stand it too.
func (t *temper) provoke(r Rule) {
	switch {
	case r&(OwnAttempt|FromSend) != 0:
		t.partition, t.slow, t.late, t.life, t.stop = 80*time.Second, 0.3, 0.1, 5*time.Minute, 0.01
		t.orphan, t.reboot, t.failover, t.dbstep = time.Hour, time.Hour, time.Hour, time.Hour
	case r&JoinLatest != 0:
		t.orphan, t.slow, t.life, t.loss, t.failover = 25*time.Second, 0.5, 2*time.Minute, 0.01, time.Hour
	case r&LapseRecorded != 0:
		t.pause, t.partition, t.loss, t.late, t.life = 0.4, 45*time.Second, 0.3, 0.02, 15*time.Second
		t.failover, t.dbstep, t.orphan = time.Hour, time.Hour, time.Hour
	case r&SpawnStoreEpoch != 0:
		t.failover, t.late, t.slow, t.life, t.stop = 150*time.Second, 0.2, 0.5, 90*time.Second, 0.02
		t.dbstep, t.reboot, t.orphan = time.Hour, time.Hour, time.Hour
	case r&TombstoneUntilHeard != 0:
		t.late, t.sigstop, t.stop, t.life, t.loss = 0.2, 40*time.Second, 0.15, 30*time.Second, 0.2
		t.failover, t.dbstep, t.pause = time.Hour, time.Hour, 0.2
	}
}
