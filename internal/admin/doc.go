// Package admin is what an operator looks at when it's night: the metrics of a
// process, whether it is alive and ready, its profiles, and how much it logs.
//
// Its listener belongs on the loopback address. It knows none of the parts:
// they register what they count and what they can be asked.
package admin
