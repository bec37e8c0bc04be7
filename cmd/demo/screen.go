package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// screen is the output as its reader can show it: colours only on a terminal, and ASCII where the
// locale is not UTF-8.
type screen struct {
	verbose bool
	colour  bool
	ascii   bool

	mu   sync.Mutex // guards out: the logs of several processes come in between
	out  io.Writer
	gone func()
}

// newScreen looks at the output and the environment. gone is called when a write fails: then
// nobody reads any more.
func newScreen(out io.Writer, verbose bool, gone func()) *screen {
	return &screen{
		verbose: verbose, colour: colourful(isTerminal(out), os.Getenv), ascii: !knowsUTF8(os.Getenv), out: out, gone: gone,
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// colourful follows https://no-color.org.
func colourful(terminal bool, getenv func(string) string) bool {
	return terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && getenv("TERM") != ""
}

// knowsUTF8 judges the locale as POSIX does: the first of the three that is set counts.
func knowsUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(getenv(name)); locale != "" {
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return false
}

// asASCII keeps the width of everything but the dots, which stand in the last column.
var asASCII = strings.NewReplacer("…", "...", "─", "-", "│", "|", "▶", ">", "▼", "v")

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.out.Write(b)
	if err != nil {
		s.gone()
	}
	return n, err
}

func (s *screen) printf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.ascii {
		text = asASCII.Replace(text)
	}
	_, _ = io.WriteString(s, text) // what cannot be written has ended the demonstration
}

// mark is the first column of a step or an expectation.
func (s *screen) mark(ok bool) string {
	switch {
	case s.ascii && ok:
		return s.paint("32", "ok  ")
	case s.ascii:
		return s.paint("31", "FAIL")
	case ok:
		return s.paint("32", "✓")
	}
	return s.paint("31", "✗")
}

// noMark fills the column of the marks where there is none.
func (s *screen) noMark() string {
	if s.ascii {
		return "    "
	}
	return " "
}

// heading is a title in bold, where there is bold.
func (s *screen) heading(text string) string { return s.paint("1", text) }

// paint sets a text in a style of ECMA-48 (SGR), where there are styles.
func (s *screen) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// table prints rows of cells in columns; the first row is the heading.
func (s *screen) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		line := ""
		for i, cell := range row {
			line += fmt.Sprintf("  %-*s", widths[i]+1, cell)
		}
		line = strings.TrimRight(line, " ")
		if n == 0 {
			line = s.heading(line)
		}
		s.printf("%s\n", line)
	}
}
