package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// listed is a process of the application as operators see it.
type listed struct {
	Process    string    `json:"process"`
	Instance   string    `json:"instance"`
	Address    string    `json:"address"`
	Started    time.Time `json:"started"`
	Partitions []int32   `json:"partitions"`
}

// members answers who there is and what each owns, as this process knows it.
func (s *server) members(w *response, _ *http.Request) error {
	list := struct {
		Items []listed `json:"items"`
	}{Items: []listed{}}
	for _, m := range s.app.Members() {
		list.Items = append(list.Items, listed{m.Process.String(), m.Instance, m.Address, m.Started, m.Partitions})
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.json(append(data, '\n'))
	return nil
}
