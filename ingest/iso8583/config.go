package iso8583

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caudalpay/caudal/ingest/door"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/rails/iso8583"
	referencev1 "github.com/caudalpay/caudal/schemas/reference/v1"
)

// Config is what the door can be told. The zero value of a number means its default.
type Config struct {
	Address string // host:port to listen on
	Frames  iso8583.Frames
	TLS     TLS

	Deadline     time.Duration // from the frame to the core's decision; then this house stands in; 2 s
	StandInWait  time.Duration // how long the log may take to acknowledge a stand-in; 1 s
	ReadTimeout  time.Duration // from a frame's first byte to its last, and for a TLS handshake; 10 s
	WriteTimeout time.Duration // of one write; 10 s
	IdleTimeout  time.Duration // between two frames; 10 min
	Grace        time.Duration // at the end: for what is in flight; 5 s

	ConnectionsMax int // 8,192
	PipelineMax    int // requests of one connection that wait for their answer or for its reader; 256
	InFlightMax    int // requests of all connections that wait for the core; above it they are answered 91; 4,096
	ReversalsMax   int // reversals of stand-ins that wait for the log; 65,536
}

// TLS names the files of a certificate, and of the authorities whose clients may come in. All empty: no TLS.
type TLS struct {
	Certificate string // PEM
	Key         string // PEM
	ClientCA    string // PEM; empty: clients need no certificate
	Acquirers   string // YAML: which client may speak for which acquirers (field 32); empty: each for all
}

// Sealer makes what may stand on a log for ever of what may not.
type Sealer interface {
	CardKey(number string) payment.CardKey
	PartyDigest(normalised string) []byte
	AppendBodyHash(b, canonical []byte) []byte
}

// Policies tells the newest version of a policy.
type Policies interface {
	Policy(id string) (*referencev1.Policy, bool)
}

// Ports are what the door stands on.
type Ports struct {
	Lane     door.Lane
	Accounts door.Accounts
	Cards    door.Cards
	Pins     door.Pins
	Policies Policies
	Sealer   Sealer
	// Known are the directories: before they are ready no connection is taken, or a card that they have not read yet would be
	// refused as unknown.
	Known   []func() error
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&c.Deadline, 2 * time.Second},
		{&c.StandInWait, time.Second},
		{&c.ReadTimeout, 10 * time.Second},
		{&c.WriteTimeout, 10 * time.Second},
		{&c.IdleTimeout, 10 * time.Minute},
		{&c.Grace, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	for _, d := range []struct {
		value *int
		usual int
	}{{&c.ConnectionsMax, 8_192}, {&c.PipelineMax, 256}, {&c.InFlightMax, 4_096}, {&c.ReversalsMax, 65_536}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	return c
}

// Validate says what cannot be meant, files that cannot be read among it: who starts a house hears of it before anything else is up.
func (c Config) Validate() error {
	_, _, err := c.checked()
	return err
}

// checked gives what stands in the files: who may speak for whom, and how lines are secured; nil without TLS.
func (c Config) checked() (acquirers, *tls.Config, error) {
	if err := c.valid(); err != nil {
		return nil, nil, fmt.Errorf("checking configuration: %w", err)
	}
	known, err := loadAcquirers(c.TLS.Acquirers)
	if err != nil || c.TLS.Certificate == "" {
		return known, nil, err
	}
	config, err := c.TLS.config(known)
	return known, config, err
}

func (c Config) valid() error {
	if err := c.Frames.Validate(); err != nil {
		return err //nolint:wrapcheck // it says which
	}
	if min(c.Deadline, c.StandInWait, c.ReadTimeout, c.WriteTimeout, c.IdleTimeout, c.Grace) < 0 {
		return errors.New("a time is negative")
	}
	if min(c.ConnectionsMax, c.PipelineMax, c.InFlightMax, c.ReversalsMax) < 0 {
		return errors.New("a limit is negative")
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		return errors.New("a certificate and its key go together")
	}
	if c.TLS.ClientCA != "" && c.TLS.Certificate == "" {
		return errors.New("certificates of clients need one of the server")
	}
	if c.TLS.Acquirers != "" && c.TLS.ClientCA == "" {
		return errors.New("acquirers are known by their certificates, so authorities of clients are needed")
	}
	return nil
}

func (p Ports) validate() error {
	if p.Lane == nil || p.Accounts == nil || p.Cards == nil || p.Pins == nil || p.Policies == nil || p.Sealer == nil ||
		p.Now == nil || p.Log == nil || p.Metrics == nil {
		return errors.New("checking ports: one is missing")
	}
	return nil
}

// config secures lines. Who has a good certificate and is none of the acquirers is refused in the handshake.
func (t TLS) config(known acquirers) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("loading certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("loading authorities of clients: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("loading authorities of clients: no certificate in %s", t.ClientCA)
	}
	if known != nil {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := known.of(state.PeerCertificates[0])
			return err
		}
	}
	return config, nil
}
