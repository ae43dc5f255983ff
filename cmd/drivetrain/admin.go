package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// adminFlags say which application an operator's command asks, and how it answers.
type adminFlags struct {
	Admin   string        `default:"http://127.0.0.1:8081" env:"DRIVETRAIN_ADMIN" placeholder:"URL" help:"The admin listener of a process of the application. Default: ${default}."`
	JSON    bool          `name:"json" help:"Print what it answers, as JSON."`
	Timeout time.Duration `default:"30s" help:"How long one request may take. Default: ${default}."`
}

// maxAnswer bounds an answer of the admin listener.
const maxAnswer = 64 << 20

// adminError is a problem that the admin listener answers.
type adminError struct {
	Status int
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (e *adminError) Error() string {
	return fmt.Sprintf("%s (%d): %s", e.Title, e.Status, e.Detail)
}

// call asks the admin listener, below its URL, and reads the answer into out, nil: it
// is left. in is sent as JSON, nil: nothing is. Errors: *adminError for what the
// listener refuses; else it was not reached, or is no admin listener.
func (f *adminFlags) call(ctx context.Context, method, path string, in, out any) (status int, err error) {
	base, err := url.Parse(f.Admin)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return 0, fmt.Errorf("--admin %.200q: want an http or https URL such as http://127.0.0.1:8081", f.Admin)
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(f.Admin, "/")+path, body)
	if err != nil {
		return 0, err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("ask the application's admin listener (--admin): %w", err)
	}
	defer res.Body.Close()
	return res.StatusCode, f.read(res, out)
}

func (f *adminFlags) read(res *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read what %s answers: %w", f.Admin, err)
	case len(data) > maxAnswer:
		return fmt.Errorf("%s answers more than %d bytes", f.Admin, maxAnswer)
	case res.StatusCode >= 300:
		problem := &adminError{Status: res.StatusCode}
		if json.Unmarshal(data, problem) != nil || problem.Title == "" {
			return fmt.Errorf("%s answers %s, and no problem+json: is it the admin listener of an application?", f.Admin, res.Status)
		}
		return problem
	case out == nil || len(data) == 0:
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return errors.Join(fmt.Errorf("%s answers what is not understood: is it the admin listener of an application?", f.Admin), err)
	}
	return nil
}
