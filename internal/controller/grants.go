package controller

import (
	"fmt"
	"slices"
	"strings"

	"plane"
)

// Verb is what an API key may be allowed to do.
type Verb string

// The verbs of grants.
const (
	VerbConnect   Verb = "connect"
	VerbRead      Verb = "read"
	VerbTerminate Verb = "terminate"
	VerbRevoke    Verb = "revoke"
	VerbDrain     Verb = "drain"
	VerbAPIKey    Verb = "api-key"
	VerbNode      Verb = "node"
	VerbApp       Verb = "app"  // define apps and move them; the namespace is the app's name
	VerbData      Verb = "data" // give up the kept data of keys
	VerbExec      Verb = "exec" // run commands in backends
	VerbAll       Verb = "*"
)

var verbs = []Verb{VerbConnect, VerbRead, VerbTerminate, VerbRevoke, VerbDrain, VerbAPIKey, VerbNode, VerbApp, VerbData, VerbExec, VerbAll}

// Everywhere, as the namespace of Actor.May, asks for a grant without a
// namespace: for verbs that concern the cluster.
const Everywhere = "\x00"

// May returns nil if a may do verb in that namespace, else a Forbidden error
// that names the missing grant.
func (a Actor) May(verb Verb, namespace string) error {
	if a.allows(verb, namespace) {
		return nil
	}
	missing := string(verb)
	if namespace != Everywhere {
		missing += ":" + namespace + "/*"
	}
	return plane.NewError(plane.Forbidden, fmt.Sprintf("This API key lacks the grant %q.", missing))
}

func (a Actor) allows(verb Verb, namespace string) bool {
	if a.Grants == nil {
		return true
	}
	for _, g := range a.Grants {
		v, scope, scoped := strings.Cut(g, ":")
		if Verb(v) != verb && Verb(v) != VerbAll {
			continue
		}
		if !scoped || namespace != Everywhere && scope == namespace+"/*" {
			return true
		}
	}
	return false
}

// covers reports whether everything that grant allows is allowed to a: nobody
// hands on more than they have.
func (a Actor) covers(grant string) bool {
	v, scope, scoped := strings.Cut(grant, ":")
	if !scoped {
		return a.allows(Verb(v), Everywhere)
	}
	return a.allows(Verb(v), strings.TrimSuffix(scope, "/*"))
}

// String is the actor as the log shows it.
func (a Actor) String() string {
	if a.Name == "" {
		return a.Kind
	}
	return a.Kind + " " + a.Name
}

func checkGrant(grant string) *plane.Error {
	v, scope, scoped := strings.Cut(grant, ":")
	if !slices.Contains(verbs, Verb(v)) {
		words := make([]string, len(verbs))
		for i, w := range verbs {
			words[i] = string(w)
		}
		return plane.Invalid("grants", fmt.Sprintf("Grant %q: the verb is one of %s.", grant, strings.Join(words, ", ")))
	}
	if !scoped {
		return nil
	}
	namespace, ok := strings.CutSuffix(scope, "/*")
	switch {
	case !ok || namespace == Everywhere:
		return plane.Invalid("grants", fmt.Sprintf("Grant %q: write VERB or VERB:NAMESPACE/*.", grant))
	case Verb(v) == VerbDrain || Verb(v) == VerbAPIKey || Verb(v) == VerbNode:
		return plane.Invalid("grants", fmt.Sprintf("Grant %q: %s concerns the cluster and takes no namespace.", grant, v))
	}
	return nil
}

func verbOf(grant string) Verb {
	v, _, _ := strings.Cut(grant, ":")
	return Verb(v)
}
