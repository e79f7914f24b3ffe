package sqlite

import (
	"plane"
	"plane/internal/store"
)

const selectAPIKey = `SELECT id, name, hash, grants, actor, created_at FROM api_key `

func readAPIKey(r *row) store.APIKey {
	k := store.APIKey{ID: r.text(), Name: r.text(), Hash: r.blob()}
	r.json(&k.Grants)
	k.Actor, k.CreatedAt = r.text(), r.time()
	return k
}

func (t *tx) APIKeys() ([]store.APIKey, error) {
	var all []store.APIKey
	err := t.find(selectAPIKey+`ORDER BY created_at, id`, func(r *row) { all = append(all, readAPIKey(r)) })
	return all, err
}

func (t *tx) APIKeyByHash(hash []byte) (store.APIKey, error) {
	var k store.APIKey
	err := t.get(selectAPIKey+`WHERE hash = ?`, func(r *row) { k = readAPIKey(r) }, hash)
	return k, err
}

func (t *tx) InsertAPIKey(k store.APIKey) error {
	grants, err := encode(k.Grants)
	if err != nil {
		return err
	}
	if k.CreatedAt.IsZero() {
		k.CreatedAt = t.Now()
	}
	return t.insert(`INSERT INTO api_key (id, name, hash, grants, actor, created_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, k.ID, k.Name, k.Hash, grants, k.Actor, k.CreatedAt)
}

func (t *tx) DeleteAPIKey(id string) (bool, error) {
	return t.changed(`DELETE FROM api_key WHERE id = ?`, id)
}

func (t *tx) TokenKeys(cluster plane.ClusterName) ([]store.TokenKey, error) {
	var all []store.TokenKey
	err := t.find(`SELECT number, secret, created_at, active_at FROM token_key WHERE cluster = ? ORDER BY number`, func(r *row) {
		all = append(all, store.TokenKey{Number: uint32(r.number()), Secret: r.blob(), CreatedAt: r.time(), ActiveAt: r.time()})
	}, cluster)
	return all, err
}

func (t *tx) InsertTokenKey(cluster plane.ClusterName, k store.TokenKey) error {
	if k.CreatedAt.IsZero() {
		k.CreatedAt = t.Now()
	}
	return t.insert(`INSERT INTO token_key (cluster, number, secret, created_at, active_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, cluster, k.Number, k.Secret, k.CreatedAt, k.ActiveAt)
}

func (t *tx) DeleteTokenKey(cluster plane.ClusterName, number uint32) error {
	_, err := t.exec(`DELETE FROM token_key WHERE cluster = ? AND number = ?`, cluster, number)
	return err
}
