package planefile

import (
	"strings"
	"testing"
)

// TestMistakesAboutImagesAreNamedToo is what people get wrong about containers.
func TestMistakesAboutImagesAreNamedToo(t *testing.T) {
	const c, i = "apps:\n  a:\n    command: [x]\n", "apps:\n  a:\n    image: y\n"
	for text, want := range map[string]string{
		c + "    pull_policy: Always":                                "4: apps.a.pull_policy is for images only; this executable is a command.",
		c + "    port: 80":                                           "4: apps.a.port is for images only; this executable is a command.",
		c + "    user: root":                                         "4: apps.a.user is for images only; this executable is a command.",
		c + "    gpus: all":                                          "4: apps.a.gpus is for images only; this executable is a command.",
		c + "    read_only: true":                                    "4: apps.a.read_only is for images only; this executable is a command.",
		c + "    mount: true":                                        "4: apps.a.mount is for images only; this executable is a command.",
		c + "    network_name: n":                                    "4: apps.a.network_name is for images only; this executable is a command.",
		c + "    runtime: oci":                                       "4: apps.a.runtime is oci, which runs images; give an image.",
		i + "    runtime: process":                                   "4: apps.a.runtime is process, which runs commands; use docker or oci for an image.",
		i + "    runtime: podman":                                    "4: apps.a.runtime must be process, docker or oci.",
		i + "    pull_policy: always":                                "4: apps.a.pull_policy must be IfNotPresent, Always or Never.",
		i + "    credentials: bob:hush":                              `4: apps.a.credentials is the text "bob:hush"; it must be a table of names and values.`,
		i + "    credentials: { username: bob }":                     "4: apps.a.credentials needs username and password, or an identity_token.",
		i + "    credentials: { user: bob }":                         `4: There is no field "user" in apps.a.credentials; known are username, password, identity_token.`,
		i + "    credentials: { password: a, identity_token: b }":    "4: apps.a.credentials has both a password and an identity_token; give one of them.",
		i + "    credentials:\n      username: b\n      password: 1": `6: apps.a.credentials.password is the number 1; it must be a text: put it in quotes, "1".`,
		i + "    mount: 7":                                           "4: apps.a.mount is the number 7; it must be true (a directory of each key's own), or a path in quotes.",
		i + "    mount: [a]":                                         "4: apps.a.mount is a list; it must be true",
		i + "    mount: /srv":                                        `4: apps.a.mount must be a relative path of plain names: no "..", no leading "/" or ".".`,
		i + "    mount: ../a":                                        `4: apps.a.mount must be a relative path of plain names: no "..", no leading "/" or ".".`,
		i + "    read_only: \"yes\"":                                 `4: apps.a.read_only is the text "yes"; it must be true or false, without quotes.`,
		i + "    read_only: 1":                                       "4: apps.a.read_only is the number 1; it must be true or false, without quotes.",
		i + "    user: 1000":                                         `4: apps.a.user is the number 1000; it must be a text: put it in quotes, "1000".`,
		i + "    user: a b":                                          "4: apps.a.user must be a number or a name of the image, with :GROUP if need be.",
		i + "    port: 70000":                                        "4: apps.a.port is 70000; it must be from 1 to 65535.",
		i + "    port: http":                                         `4: apps.a.port is the text "http"; it must be a whole number.`,
		i + "    gpus: 2":                                            `4: apps.a.gpus is the number 2; it must be a text: put it in quotes, "2".`,
		i + "    gpus: many":                                         `4: apps.a.gpus must be "all" or a number from 1 to 64.`,
		i + "    listen: inherit":                                    "4: apps.a.listen is for commands only; an image listens on its own port.",
		i + "    dir: srv":                                           "4: apps.a.dir must be an absolute path.",
		i + "    egress: everything":                                 `4: apps.a.egress is "everything"; use none, public, or addresses such as 203.0.113.0/24 or 198.51.100.7:443 with commas between them.`,
		i + "    egress: [203.0.113.0/24, example.org]":              `4: apps.a.egress is "example.org"; use none, public, or addresses`,
		i + "    egress: [443]":                                      `4: apps.a.egress[0] is the number 443; it must be a text: put it in quotes, "443".`,
		i + "    egress: []":                                         "4: apps.a.egress is an empty list; name something in it or remove it.",
	} {
		_, err := Parse(Name, []byte(text))
		if err == nil || !strings.Contains(err.Error(), Name+":"+want) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}
