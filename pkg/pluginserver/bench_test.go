package pluginserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process is one plugin server of the comparison.
type process struct {
	name string
	dir  string
	pid  int
	host *Host
	id   int32
}

func startProcess(tb testing.TB, name string) *process {
	tb.Helper()
	p := &process{name: name, dir: tb.TempDir()}
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe, "-kong-prefix", p.dir)
	cmd.Env = append(os.Environ(), roleVar+"="+name, roleVar+"_DIR="+p.dir)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	p.host = NewHost(socketOf(p.dir))
	tb.Cleanup(func() {
		p.host.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		if p.id, err = p.host.StartInstance(context.Background(), "bench", []byte(`{}`)); err == nil {
			return p
		}
		if time.Now().After(deadline) {
			tb.Fatalf("the %s server does not answer: %v", name, err)
		}
		time.Sleep(10 * time.Millisecond) // until the child listens
	}
}

// events drives n events over one connection.
func (p *process) events(tb testing.TB, n int) time.Duration {
	api := &benchAPI{headers: AppendRawHeaders(nil, requestHeaders(false))}
	ctx := context.Background()
	begin := time.Now()
	for range n {
		if err := p.host.HandleEvent(ctx, p.id, eventAccess, api); err != nil {
			tb.Fatalf("%s: %v", p.name, err)
		}
	}
	took := time.Since(begin)
	if api.calls != 2*n {
		tb.Fatalf("%s made %d calls in %d events", p.name, api.calls, n)
	}
	return took
}

type benchAPI struct {
	headers []byte
	calls   int
}

func (a *benchAPI) Call(method string, _ []byte) ([]byte, error) {
	a.calls++
	switch method {
	case "kong.request.get_headers":
		return a.headers, nil
	case "kong.service.request.set_headers":
		return nil, nil
	}
	return nil, fmt.Errorf("unexpected call %s", method)
}

// usage is what a process has spent so far.
type usage struct {
	writes, mallocs uint64
	cpu             time.Duration
}

func (p *process) usage(tb testing.TB) usage {
	tb.Helper()
	var u usage
	nc, err := net.Dial("unix", filepath.Join(p.dir, "mallocs"))
	if err != nil {
		tb.Fatal(err)
	}
	defer nc.Close()
	if err := binary.Read(nc, binary.LittleEndian, &u.mallocs); err != nil {
		tb.Fatal(err)
	}
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.pid))
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatal(err)
	}
	if err != nil {
		tb.Skipf("write calls are counted by Linux: %v", err)
	}
	for line := range strings.Lines(string(io)) {
		if n, ok := strings.CutPrefix(line, "syscw: "); ok {
			u.writes, _ = strconv.ParseUint(strings.TrimSpace(n), 10, 64)
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		tb.Fatal(err)
	}
	// utime and stime, fields 14 and 15, in ticks of 10 ms; the name before them may hold spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, _ := strconv.Atoi(f)
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	return u
}

// TestBenchTable compares this server with go-pdk's own: the same two calls, the same Host, one
// connection, runs interleaved. It prints a table and fails where a target is missed. BENCH_TABLE=1
// runs it; elsewhere it would be a timed assertion.
func TestBenchTable(t *testing.T) {
	if os.Getenv("BENCH_TABLE") == "" {
		t.Skip("set BENCH_TABLE=1")
	}
	const rounds, perRound = 11, 10_000
	servers := []*process{startProcess(t, "stock"), startProcess(t, "ours")}
	var rates [2][]float64
	var spent [2]usage
	for i, p := range servers {
		p.events(t, perRound) // warm
		spent[i] = p.usage(t)
	}
	for range rounds {
		for i, p := range servers {
			rates[i] = append(rates[i], perRound/p.events(t, perRound).Seconds())
		}
	}
	var ratios []float64
	for r := range rounds {
		ratios = append(ratios, rates[1][r]/rates[0][r])
	}
	const n = rounds * perRound
	var writes, mallocs, cpu [2]float64
	t.Logf("%-8s %10s %14s %14s %14s", "server", "events/s", "writes/event", "allocs/event", "CPU us/event")
	for i, p := range servers {
		now := p.usage(t)
		writes[i] = float64(now.writes-spent[i].writes) / n
		mallocs[i] = float64(now.mallocs-spent[i].mallocs) / n
		cpu[i] = float64((now.cpu - spent[i].cpu).Microseconds()) / n
		t.Logf("%-8s %10.0f %14.2f %14.2f %14.2f", p.name, median(rates[i]), writes[i], mallocs[i], cpu[i])
	}
	ratio := median(ratios)
	t.Logf("%-8s %10.2f %14.2f %14.2f %14.2f", "ratio", ratio, writes[1]/writes[0], mallocs[1]/mallocs[0], cpu[1]/cpu[0])
	if ratio < 1.4 {
		t.Errorf("events/s: %.2f times go-pdk's, the target is 1.4", ratio)
	}
	if writes[1] > writes[0]/4 || mallocs[1] >= mallocs[0] || cpu[1] >= cpu[0] {
		t.Error("writes must be a quarter, allocations and CPU less")
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func BenchmarkEvent(b *testing.B) {
	for _, name := range []string{"stock", "ours"} {
		b.Run(name, func(b *testing.B) {
			p := startProcess(b, name)
			p.events(b, 1000)
			b.ResetTimer()
			p.events(b, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkDecodeHeaders(b *testing.B) {
	reply := AppendRawHeaders(nil, requestHeaders(true))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeHeaders(reply); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendHeaders(b *testing.B) {
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendHeaders(dst, upstreamHeaders); err != nil {
			b.Fatal(err)
		}
	}
}
