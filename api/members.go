package api

import (
	"net/http"
	"reflect"
	"time"
)

// listed is a process of the application as operators see it.
type listed struct {
	Process    string    `json:"process" format:"uuid" doc:"New at each start"`
	Instance   string    `json:"instance" doc:"Lasts over restarts; empty with one process alone"`
	Address    string    `json:"address" doc:"Where others reach it; empty where it gives none"`
	Started    time.Time `json:"started"`
	Partitions []int32   `json:"partitions" nullable:"false" doc:"That it owns"`
}

// members is all of them.
type members struct {
	Items []listed `json:"items" nullable:"false"`
}

// addMembers adds the list of processes.
func (o *operators) addMembers() {
	o.add(adminRoute{method: http.MethodGet, path: "/v1/members", id: "list_members", tag: "process", summary: "List the processes",
		about:  "Answers with the processes of the application, in the order in which they were announced, and with what each owns as this process knows it.",
		answer: answer{about: "The processes.", of: reflect.TypeFor[members]()}, do: o.members})
}

// members answers who there is and what each owns, as this process knows it.
func (s *server) members(w *response, _ *http.Request) error {
	all := members{Items: []listed{}}
	for _, m := range s.app.Members() {
		all.Items = append(all.Items, listed{m.Process.String(), m.Instance, m.Address, m.Started, append([]int32{}, m.Partitions...)})
	}
	return w.fresh(http.StatusOK, all)
}
