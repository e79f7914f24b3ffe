// Package planefile reads plane.yaml, the file that names the apps of a
// directory. Whatever is wrong with it is an error that names the line, the
// field and the remedy.
package planefile
