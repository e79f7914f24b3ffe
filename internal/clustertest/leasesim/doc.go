// Package leasesim simulates the lease protocol: three drones, one key, two
// controllers and a database, in virtual time and from one random seed. Its
// network loses, delays, duplicates and reorders; drones are cut off, paused,
// restarted and rebooted; the database fails over and loses up to 4 s of
// commits, and its clock steps; every clock runs up to 0.5 % fast or slow.
//
// The rules are those of package plane; each can be left out. With all of them
// two backends of the key never run at once; a rule whose absence shows no
// overlap would be a rule that nothing tests.
package leasesim
