// Package image keeps images on disk, unpacked: pulled from registries, imported
// from archives or taken from a local engine, each layer once.
//
// Below the directory of a store:
//
//	format        version of this layout, and the shift of owners
//	lock          flock: shared while something is added, exclusive while something is removed
//	layers/HEX/   one unpacked layer, by the digest of its uncompressed archive;
//	              on-HEX if it depends on those below, by the digest of that chain
//	images/HEX    what is known of an image, by the digest of its manifest
//	names/NAME    which image a name means
//	holds/NAME    which image a backend uses; it outlives the agent
//	blobs/HEX     what has come of a layer from its registry, by the digest it has
//	              there; continued by the next pull, dropped after a day
//	tmp/          what is being unpacked; swept when a store is opened
//
// Every file and directory appears by a rename after it has been synced, so that
// a process that is killed leaves a whole thing or none.
package image
