package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names below the folder that the API server and its client share.
const (
	signingKey  = "service-accounts.key"
	tokens      = "tokens.csv"
	certificate = "apiserver.crt"
)

// Most bytes of an answer that are read.
const mostAnswer = 1 << 20

// makeKeys makes the key that signs tokens of service accounts, and a token of an administrator.
func makeKeys(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, signingKey), text, 0o600); err != nil {
		return err
	}
	line := hex.EncodeToString(secret) + ",probe,probe,system:masters\n"
	return os.WriteFile(filepath.Join(dir, tokens), []byte(line), 0o600)
}

type apiserver struct {
	url    string
	token  string
	client *http.Client
}

// connect waits until the API server has written the certificate that it has made for itself.
func connect(ctx context.Context, url, dir string) (*apiserver, error) {
	line, err := os.ReadFile(filepath.Join(dir, tokens))
	if err != nil {
		return nil, err
	}
	token, _, found := strings.Cut(string(line), ",")
	if !found {
		return nil, fmt.Errorf("%s holds no token: `probe keys` makes it", tokens)
	}
	roots := x509.NewCertPool()
	for {
		text, err := os.ReadFile(filepath.Join(dir, certificate))
		if err == nil && roots.AppendCertsFromPEM(text) {
			break
		}
		if err := rest(ctx); err != nil {
			return nil, err
		}
	}
	// The certificate is for the pod's address and these names, not for the loopback address.
	settings := &tls.Config{RootCAs: roots, ServerName: "kubernetes.default.svc"}
	transport := &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true}
	return &apiserver{url: url, token: token, client: &http.Client{Transport: transport}}, nil
}

func rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

// send makes a request; what is answered with another status than a success is an error.
func (a *apiserver) send(ctx context.Context, method, path, kind, body string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", kind)
	answer, err := a.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	if err != nil {
		return answer.StatusCode, err
	}
	if answer.StatusCode/100 != 2 {
		return answer.StatusCode, fmt.Errorf("%s: %s", answer.Status, said)
	}
	return answer.StatusCode, nil
}

const configMaps = "/api/v1/namespaces/default/configmaps"

func object(number int) string { return fmt.Sprintf("probe-%d", number%keys) }

// create makes the objects that are written later; the API server makes their namespace soon after its start.
func (a *apiserver) create(ctx context.Context, number int) error {
	body := fmt.Sprintf(`{"metadata":{"name":%q}}`, object(number))
	for {
		status, err := a.send(ctx, http.MethodPost, configMaps, "application/json", body)
		if err == nil || status == http.StatusConflict {
			return nil
		}
		if gone := rest(ctx); gone != nil {
			return errors.Join(gone, err)
		}
	}
}

func apiserverWrites(ctx context.Context, url, dir string) error {
	api, err := connect(ctx, url, dir)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", url, err)
	}
	for number := range keys {
		if err := api.create(ctx, number); err != nil {
			return fmt.Errorf("create %s: %w", object(number), err)
		}
	}
	paced(ctx, func(ctx context.Context, number int) error {
		path := configMaps + "/" + object(number)
		body := fmt.Sprintf(`{"data":{"number":"%d"}}`, number)
		_, err := api.send(ctx, http.MethodPatch, path, "application/merge-patch+json", body)
		return err
	})
	return nil
}
