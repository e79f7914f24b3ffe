package wire

// Queued is how many messages wait to be written, telemetry and bulk apart.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}
