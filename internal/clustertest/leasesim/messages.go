package leasesim

import "plane"

// The messages between a drone's agent and a controller, as in package wire.
// The spawn is an action and its plane.Grant.
type (
	hello struct {
		drone, agent, boot, number int
		store                      plane.StoreEpoch
	}
	welcome struct {
		number  int
		ok      bool
		epoch   int64
		attempt int64
		store   plane.StoreEpoch
	}
	joining struct {
		drone, agent, boot, number int
		epoch                      int64
	}
	joined struct {
		number       int
		answered, ok bool
		epoch        int64
		attempt      int64
		store        plane.StoreEpoch
	}
	renewal struct {
		drone, agent  int
		number, epoch int64
		store         plane.StoreEpoch
	}
	renewed struct {
		number                 int64
		ok, refused, inventory bool
		epoch                  int64
		store                  plane.StoreEpoch
	}
	inventory struct {
		drone, agent int
		store        plane.StoreEpoch
		epoch        int64
		held         []held
	}
	held struct {
		id         int
		generation plane.Generation
		epoch      int64
	}
	acted struct {
		drone, agent, action, backend int
		refused                       bool
	}
	ended struct{ drone, agent, backend int }
)
