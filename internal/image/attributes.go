package image

import (
	"archive/tar"
	"encoding/binary"
	"strings"
)

// Names of extended attributes in archives.
const (
	attribute    = "SCHILY.xattr."
	capabilities = attribute + "security.capability"
)

// attributes leaves an entry those extended attributes that mean something in a
// sandbox: users' own, and the capabilities of programs. All others would be read by
// this machine: rules of its security modules, lists of its users.
func attributes(h *tar.Header, shift Shift) {
	for name, value := range h.PAXRecords {
		switch {
		case name == capabilities:
			h.PAXRecords[name] = inNamespace(value, shift)
		case strings.HasPrefix(name, attribute) && !strings.HasPrefix(name, attribute+"user."):
			delete(h.PAXRecords, name)
		}
	}
}

// The revisions of struct vfs_cap_data, see linux/capability.h: 4 bytes of revision
// and flags, 16 of capabilities, and in revision 3 four of whose they are.
const (
	capabilityMask = 0xff000000
	capabilityV2   = 0x02000000
	capabilityV3   = 0x03000000
	sizeV2         = 20
)

// inNamespace makes capabilities count only where root is that of the shift. Those that
// say nothing of whose they are would count on this machine, too.
func inNamespace(value string, shift Shift) string {
	b := []byte(value)
	if shift == (Shift{}) || len(b) != sizeV2 {
		return value
	}
	head := binary.LittleEndian.Uint32(b)
	if head&capabilityMask != capabilityV2 {
		return value
	}
	binary.LittleEndian.PutUint32(b, head&^uint32(capabilityMask)|capabilityV3)
	return string(binary.LittleEndian.AppendUint32(b, uint32(shift.First)))
}
