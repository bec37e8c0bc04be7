// Package keycloaktest is the plugin judged by a real Keycloak: requests go through the development
// gateway, the real plugin behind its socket, and a Keycloak that the tests start, stop and
// administrate. It holds tests only; nothing imports it.
//
// The environment variable OPENID_CONNECT_KEYCLOAK names an unpacked Keycloak distribution; without
// it the tests are skipped, but in CI (CI=true) they fail. .ci/keycloak fetches the distribution
// and runs them.
//
// What a provider does wrong on purpose is not tested here but against internal/demoidp: Keycloak
// has no faults to order.
package keycloaktest
