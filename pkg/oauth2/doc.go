// Package oauth2 is the client's side of an OAuth 2.0 token endpoint: it authenticates
// a client, sends a token request and reads the answer strictly (RFC 6749, RFC 7523 and
// OpenID Connect Core §9 for client assertions).
//
// Not its job: choosing the endpoint, the client or the grant; deciding what an error
// means for the request at hand; caching; verifying the tokens that come back.
package oauth2
