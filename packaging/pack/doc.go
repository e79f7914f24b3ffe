// Command pack makes what is released: for each platform an archive with a
// static binary, a file of checksums, the install script, and the context of
// the image. The same sources and the same Go give the same bytes, wherever
// and whenever they are built.
package main
