// Package image keeps images on disk, unpacked: pulled from registries, imported
// from archives or taken from a local engine, each layer once.
//
// Below the directory of a store:
//
//	format        version of this layout, and the shift of owners
//	gate, lock    flock: shared for the moment in which something is taken or named,
//	              exclusive while something is removed
//	layers/HEX/   one unpacked layer, by the digest of its uncompressed archive;
//	              on-HEX if it depends on those below, by the digest of that chain
//	images/HEX    what is known of an image, by the digest of its manifest
//	names/NAME    which image a name means
//	holds/NAME    which image a backend uses; it outlives the agent
//	blobs/HEX     what has come of a layer from its registry, by the digest it has
//	              there; continued by the next pull, dropped after a day
//	tmp/work-*/   a pull or import under way: what it unpacks, and what it needs of
//	              the store, in a file that it locks as long as it lives
//	tmp/          what killed processes left, removed when a store is opened and by GC
//
// Every file and directory appears by a rename after it has been synced, so that
// a process that is killed leaves a whole thing or none. What was changed or
// damaged on the disk later is noticed before it is used (see treeOf), and comes again.
package image
