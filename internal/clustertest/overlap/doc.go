// Package overlap looks for what must never be: two generations of a key that
// run at once, and processes that nobody owns. Backends under test (program
// backend) and their grandchildren write their times of life into a shared
// file; the checker knows nothing of Plane but the numbers that they were given.
package overlap
