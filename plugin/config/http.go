package config

import "github.com/kong-openid-connect/openid-connect/pkg/oauth2"

// Caching: what is remembered, and for how long.
type Caching struct {
	// Seconds for which an answer is remembered when nothing says how long it holds.
	CacheTTL Seconds `kong:"cache_ttl,default=3600" oidc:"shapes=token|bearer|introspection|userinfo|exchange"`
	// Longest time in seconds for which an answer is remembered; set it below a token's lifetime to
	// renew earlier.
	CacheTTLMax *Seconds `kong:"cache_ttl_max" oidc:"shapes=token|bearer|introspection|userinfo|exchange"`
	// Shortest time in seconds for which an answer is remembered, but never past a token's own end.
	CacheTTLMin *Seconds `kong:"cache_ttl_min" oidc:"shapes=token|bearer|introspection|userinfo|exchange"`
	// Seconds for which a refusal is remembered. Without a value, 5; 0 remembers none.
	CacheTTLNeg *Seconds `kong:"cache_ttl_neg" oidc:"shapes=token|bearer|introspection|userinfo|exchange"`
	// Seconds for which an old introspection answer serves on while the provider fails. Without a
	// value, 30.
	CacheTTLResurrect *Seconds `kong:"cache_ttl_resurrect" oidc:"shapes=introspection,unbuilt=warn"`
	// Whether tokens that a grant returned are remembered.
	CacheTokens bool `kong:"cache_tokens,default=true" oidc:"shapes=none"`
	// Key of the token cache: configurations with the same salt share their tokens. Without it, a
	// random key of the process is used.
	CacheTokensSalt oauth2.Secret `kong:"cache_tokens_salt" oidc:"shapes=none"`
	// Whether the scopes are part of a cached token's key. Here they always are, whatever this
	// says.
	TokenCacheKeyIncludeScope bool `kong:"token_cache_key_include_scope,default=false" oidc:"shapes=none,ignored"`
	// Whether introspection answers are remembered.
	CacheIntrospection bool `kong:"cache_introspection,default=true" oidc:"shapes=none,unbuilt=introspection"`
	// Whether userinfo answers are remembered.
	CacheUserInfo bool `kong:"cache_user_info,default=true" oidc:"shapes=none,unbuilt=userinfo"`
	// Whether the nodes share a cache in Redis.
	ClusterCacheStrategy Strategy `kong:"cluster_cache_strategy,default=off" oidc:"shapes=none,unbuilt=warn"`
	// Kinds of answers that the nodes share.
	ClusterCacheItems []CacheItem `kong:"cluster_cache_items,default=introspection,since=3.15" oidc:"shapes=none,unbuilt=cluster_cache_strategy"`
	// Redis for the shared cache, when `cluster_cache_strategy` is `redis`.
	ClusterCacheRedis Redis `kong:"cluster_cache_redis,required" oidc:"shapes=none,unbuilt=cluster_cache_strategy"`
}

// HTTPClient: how the provider is called.
type HTTPClient struct {
	// HTTP version with which the provider is called: 1.0 or 1.1.
	HTTPVersion float64 `kong:"http_version,default=1.1"`
	// Address of the proxy for calls to http addresses.
	HTTPProxy string `kong:"http_proxy"`
	// Value of Proxy-Authorization for the proxy in `http_proxy`.
	HTTPProxyAuthorization oauth2.Secret `kong:"http_proxy_authorization,referenceable"`
	// Address of the proxy for calls to https addresses.
	HTTPSProxy string `kong:"https_proxy"`
	// Value of Proxy-Authorization for the proxy in `https_proxy`.
	HTTPSProxyAuthorization oauth2.Secret `kong:"https_proxy_authorization,referenceable"`
	// Hosts, separated by commas, that are called without a proxy.
	NoProxy string `kong:"no_proxy"`
	// Whether connections to the provider are kept open.
	Keepalive bool `kong:"keepalive,default=true" oidc:"shapes=none"`
	// Whether the certificate of the provider is verified.
	SSLVerify bool `kong:"ssl_verify,default=true"`
	// Budget in milliseconds of one request for all calls to the provider together.
	Timeout Milliseconds `kong:"timeout,default=10000" oidc:"shapes=none"`
}
