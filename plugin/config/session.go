package config

import (
	"github.com/kong-openid-connect/openid-connect/pkg/kongschema"
	"github.com/kong-openid-connect/openid-connect/pkg/oauth2"
)

// Login: what follows a login.
type Login struct {
	// Methods whose success is a login, so that `login_action` follows.
	LoginMethods []AuthMethod `kong:"login_methods,default=authorization_code" oidc:"shapes=none"`
	// What follows a login: go on to the upstream, answer the client, or redirect it.
	LoginAction LoginAction `kong:"login_action,default=upstream" oidc:"shapes=none"`
	// What a login hands to the client when `login_action` is `response` or `redirect`.
	LoginTokens []LoginToken `kong:"login_tokens,default=id_token" oidc:"shapes=none"`
	// Whether tokens travel in the query or in the fragment of the redirect after a login.
	LoginRedirectMode LoginRedirectMode `kong:"login_redirect_mode,default=fragment" oidc:"shapes=none,unbuilt=authorization_code"`
}

// Logout: what ends a session.
type Logout struct {
	// Query argument whose presence is a logout.
	LogoutQueryArg string `kong:"logout_query_arg" oidc:"shapes=none,unbuilt=warn"`
	// Form argument whose presence is a logout.
	LogoutPostArg string `kong:"logout_post_arg" oidc:"shapes=none,unbuilt=warn"`
	// End of the path that is a logout.
	LogoutURISuffix string `kong:"logout_uri_suffix" oidc:"shapes=none,unbuilt=warn"`
	// HTTP methods with which a request may log out.
	LogoutMethods []LogoutMethod `kong:"logout_methods,default=POST|DELETE" oidc:"shapes=none,unbuilt=session"`
	// Whether a logout revokes tokens at the provider.
	LogoutRevoke bool `kong:"logout_revoke,default=false" oidc:"shapes=none,unbuilt=warn"`
	// Whether the access token is revoked; needs `logout_revoke`.
	LogoutRevokeAccessToken bool `kong:"logout_revoke_access_token,default=true" oidc:"shapes=none,unbuilt=logout_revoke"`
	// Whether the refresh token is revoked; needs `logout_revoke`.
	LogoutRevokeRefreshToken bool `kong:"logout_revoke_refresh_token,default=true" oidc:"shapes=none,unbuilt=logout_revoke"`
}

// Sessions: logins that are remembered.
type Sessions struct {
	// Secret from which the keys of sessions are derived, at least 32 bytes. Without it each
	// process makes its own, so that sessions end with it and are not shared.
	SessionSecret oauth2.Secret `kong:"session_secret,encrypted,referenceable" oidc:"shapes=none,unbuilt=session"`
	// Audience of sessions: a session of one audience is not valid for another.
	SessionAudience string `kong:"session_audience,default=default" oidc:"shapes=none,unbuilt=session"`
	// Name of the session cookie.
	SessionCookieName string `kong:"session_cookie_name,default=session" oidc:"shapes=none,header=read,unbuilt=session"`
	// Whether sessions outlive the browser.
	SessionRemember bool `kong:"session_remember,default=false" oidc:"shapes=none,unbuilt=session"`
	// Name of the cookie of remembered sessions.
	SessionRememberCookieName string `kong:"session_remember_cookie_name,default=remember" oidc:"shapes=none,header=read,unbuilt=session"`
	// Time in seconds until a remembered session must be renewed.
	SessionRememberRollingTimeout Seconds `kong:"session_remember_rolling_timeout,default=604800" oidc:"shapes=none,unbuilt=session"`
	// Time in seconds after which a remembered session ends, renewed or not.
	SessionRememberAbsoluteTimeout Seconds `kong:"session_remember_absolute_timeout,default=2592000" oidc:"shapes=none,unbuilt=session"`
	// Time in seconds without a request after which a session ends.
	SessionIdlingTimeout Seconds `kong:"session_idling_timeout,default=900" oidc:"shapes=none,unbuilt=session"`
	// Time in seconds until a session must be renewed.
	SessionRollingTimeout Seconds `kong:"session_rolling_timeout,default=3600" oidc:"shapes=none,unbuilt=session"`
	// Time in seconds after which a session ends, renewed or not.
	SessionAbsoluteTimeout Seconds `kong:"session_absolute_timeout,default=86400" oidc:"shapes=none,unbuilt=session"`
	// Path of the session cookie.
	SessionCookiePath string `kong:"session_cookie_path,default=/,starts_with=/,match_none=//" oidc:"shapes=none,unbuilt=session"`
	// Domain of the session cookie; without it, the host of the request.
	SessionCookieDomain string `kong:"session_cookie_domain" oidc:"shapes=none,unbuilt=session"`
	// SameSite attribute of the session cookie; `Default` leaves it out.
	SessionCookieSameSite SameSite `kong:"session_cookie_same_site,default=Lax" oidc:"shapes=none,unbuilt=session"`
	// Whether the session cookie is hidden from scripts (HttpOnly).
	SessionCookieHTTPOnly bool `kong:"session_cookie_http_only,default=true" oidc:"shapes=none,unbuilt=session"`
	// Whether the session cookie travels over HTTPS only (Secure). Without a value, the scheme of
	// the request decides.
	SessionCookieSecure *bool `kong:"session_cookie_secure" oidc:"shapes=none,unbuilt=session"`
	// Properties of the session that are sent to the upstream in headers such as `Session-Id`.
	SessionRequestHeaders []SessionHeader `kong:"session_request_headers,set" oidc:"shapes=none,header=upstream,prefix=Session-,unbuilt=warn"`
	// Properties of the session that are sent to the client in headers such as `Session-Id`.
	SessionResponseHeaders []SessionHeader `kong:"session_response_headers,set" oidc:"shapes=none,header=downstream,prefix=Session-,unbuilt=warn"`
	// Properties of the client to which a session is bound.
	SessionBind []SessionBinding `kong:"session_bind,since=3.12" oidc:"shapes=none,unbuilt=session"`
	// Whether data about sessions is kept beside them, so that those of one subject can be found.
	SessionStoreMetadata bool `kong:"session_store_metadata,default=false" oidc:"shapes=none,unbuilt=session"`
	// Whether an audience may only hold sessions of one subject.
	SessionEnforceSameSubject bool `kong:"session_enforce_same_subject,default=false" oidc:"shapes=none,unbuilt=session"`
	// Whether subjects are hashed before they are stored.
	SessionHashSubject bool `kong:"session_hash_subject,default=false" oidc:"shapes=none,unbuilt=session"`
	// Whether the keys of stored sessions are hashed.
	SessionHashStorageKey bool `kong:"session_hash_storage_key,default=false" oidc:"shapes=none,unbuilt=session"`
	// Whether the tokens of a session are verified again on each request.
	Reverify bool `kong:"reverify,default=false" oidc:"shapes=none,unbuilt=session"`
	// Whether tokens of a session that are about to end are renewed with its refresh token.
	RefreshTokens bool `kong:"refresh_tokens,default=true" oidc:"shapes=none,unbuilt=session"`
	// Methods that do not start a session; `session` stops renewing them.
	DisableSession []AuthMethod `kong:"disable_session" oidc:"shapes=none,unbuilt=session"`
}

// SessionStores: where sessions are kept.
type SessionStores struct {
	// Where sessions are kept: in the cookie itself, in Memcached or in Redis. `memcache` is the
	// same as `memcached`.
	SessionStorage SessionStorage `kong:"session_storage,default=cookie" oidc:"shapes=none,unbuilt=session"`
	// Put before the keys of sessions in Memcached.
	SessionMemcachedPrefix string `kong:"session_memcached_prefix" oidc:"shapes=none,unbuilt=session"`
	// Path of the Unix socket of Memcached.
	SessionMemcachedSocket string `kong:"session_memcached_socket" oidc:"shapes=none,unbuilt=session"`
	// Host of Memcached.
	SessionMemcachedHost string `kong:"session_memcached_host,default=127.0.0.1" oidc:"shapes=none,unbuilt=session"`
	// Port of Memcached.
	SessionMemcachedPort int `kong:"session_memcached_port,between=0|65535,default=11211" oidc:"shapes=none,unbuilt=session"`
	// Whether Memcached is spoken to over TLS.
	SessionMemcachedSSL bool `kong:"session_memcached_ssl,default=false,since=3.13" oidc:"shapes=none,unbuilt=session"`
	// Whether the certificate of Memcached is verified.
	SessionMemcachedSSLVerify bool `kong:"session_memcached_ssl_verify,default=true,since=3.13" oidc:"shapes=none,unbuilt=session"`
	// Redis for sessions, when `session_storage` is `redis`.
	Redis SessionRedis `kong:"redis,required" oidc:"shapes=none,unbuilt=session"`
}

// SessionRedis is a Redis that keeps sessions.
type SessionRedis struct {
	Redis
	// Put before the keys of sessions in Redis.
	Prefix string `kong:"prefix"`
	// Path of the Unix socket of Redis.
	Socket string `kong:"socket"`
}

// Redis is how to reach a Redis: one server, a Sentinel group or a cluster.
type Redis struct {
	// Host of Redis.
	Host string `kong:"host,referenceable,default=127.0.0.1"`
	// Port of Redis.
	Port int `kong:"port,between=0|65535,default=6379"`
	// Time in milliseconds within which a connection must stand.
	ConnectTimeout Milliseconds `kong:"connect_timeout,integer,between=0|2147483646,default=2000"`
	// Time in milliseconds within which a command must be sent.
	SendTimeout Milliseconds `kong:"send_timeout,integer,between=0|2147483646,default=2000"`
	// Time in milliseconds within which an answer must be there.
	ReadTimeout Milliseconds `kong:"read_timeout,integer,between=0|2147483646,default=2000"`
	// User name for Redis (ACL, Redis 6 and later).
	Username string `kong:"username,referenceable"`
	// Password for Redis.
	Password oauth2.Secret `kong:"password,encrypted,referenceable"`
	// User name for Redis Sentinel.
	SentinelUsername string `kong:"sentinel_username,referenceable"`
	// Password for Redis Sentinel.
	SentinelPassword oauth2.Secret `kong:"sentinel_password,encrypted,referenceable"`
	// Number of the Redis database.
	Database int `kong:"database,default=0"`
	// How many idle connections to Redis are kept.
	KeepalivePoolSize int `kong:"keepalive_pool_size,between=1|2147483646,default=256"`
	// How many requests may wait for a connection to Redis.
	KeepaliveBacklog *int `kong:"keepalive_backlog,between=0|2147483646"`
	// Name of the group that Sentinel watches; its presence selects Sentinel.
	SentinelMaster string `kong:"sentinel_master"`
	// Kind of node asked of Sentinel.
	SentinelRole SentinelRole `kong:"sentinel_role"`
	// Addresses of the Sentinels.
	SentinelNodes []SentinelNode `kong:"sentinel_nodes,len_min=1"`
	// Addresses of nodes of the cluster; their presence selects the cluster.
	ClusterNodes []ClusterNode `kong:"cluster_nodes,len_min=1"`
	// Whether Redis is spoken to over TLS.
	SSL bool `kong:"ssl,default=false"`
	// Whether the certificate of Redis is verified.
	SSLVerify bool `kong:"ssl_verify,default=true"`
	// Server name for TLS (SNI), and the name in the certificate.
	ServerName string `kong:"server_name,referenceable"`
	// How many redirections within the cluster are followed.
	ClusterMaxRedirections int `kong:"cluster_max_redirections,default=5"`
	// Whether the connection goes through a proxy such as Envoy, whose address is then `host` and
	// `port`.
	ConnectionIsProxied bool `kong:"connection_is_proxied,default=false"`
	// Sign-in to Redis with the identity of a cloud, which only a hosted Kong service has.
	CloudAuthentication *CloudAuthentication `kong:"cloud_authentication,since=3.13,refused=cloud_authentication needs a hosted Kong service and its cloud identities that Kong Gateway OSS does not have"`
	// Old name of the three timeouts.
	Timeout *Milliseconds `kong:"timeout,integer,replaced=connect_timeout|send_timeout|read_timeout"`
	// Old name of `sentinel_nodes`: a list of `host:port`.
	SentinelAddresses []string `kong:"sentinel_addresses,len_min=1,replaced=sentinel_nodes"`
	// Old name of `cluster_nodes`: a list of `ip:port`.
	ClusterAddresses []string `kong:"cluster_addresses,len_min=1,replaced=cluster_nodes"`
}

// EntityChecks are the rules across the fields of a Redis that Kong itself holds. That a Sentinel
// group needs its nodes is left to Check: before the old name sentinel_addresses is folded, Kong
// would refuse it.
func (Redis) EntityChecks() []kongschema.EntityCheck {
	return []kongschema.EntityCheck{
		{MutuallyRequired: []string{"host", "port"}},
		{MutuallyRequired: []string{"sentinel_master", "sentinel_role"}},
		{MutuallyRequired: []string{"connect_timeout", "send_timeout", "read_timeout"}},
		{Conditional: &kongschema.Conditional{
			IfField: "connection_is_proxied", IfMatch: &kongschema.Field{Eq: kongschema.Is(true)},
			ThenField: "host", ThenMatch: &kongschema.Field{Required: true},
		}},
	}
}

// SentinelNode is the address of a Sentinel.
type SentinelNode struct {
	// Host of the Sentinel.
	Host string `kong:"host,required,default=127.0.0.1"`
	// Port of the Sentinel.
	Port int `kong:"port,between=0|65535,default=6379"`
}

// ClusterNode is the address of a node of a Redis cluster.
type ClusterNode struct {
	// Address of the node.
	IP string `kong:"ip,required,default=127.0.0.1"`
	// Port of the node.
	Port int `kong:"port,between=0|65535,default=6379"`
}

// CloudAuthentication is the sign-in to Redis with the identity of a cloud; configuring it is
// refused.
type CloudAuthentication struct {
	// Cloud whose identity signs in to Redis.
	AuthProvider CloudProvider `kong:"auth_provider"`
	// Access key of AWS that signs in to Redis.
	AWSAccessKeyID string `kong:"aws_access_key_id,encrypted,referenceable"`
	// Role of AWS that is assumed to sign in to Redis.
	AWSAssumeRoleARN string `kong:"aws_assume_role_arn,encrypted,referenceable"`
	// Name of the cache at AWS ElastiCache.
	AWSCacheName string `kong:"aws_cache_name,referenceable"`
	// Whether the cache at AWS ElastiCache is a serverless one.
	AWSIsServerless bool `kong:"aws_is_serverless,default=true"`
	// Region of the cache at AWS ElastiCache.
	AWSRegion string `kong:"aws_region,referenceable"`
	// Name of the session in which the role of AWS is assumed.
	AWSRoleSessionName string `kong:"aws_role_session_name,encrypted,referenceable"`
	// Secret key of AWS that signs in to Redis.
	AWSSecretAccessKey oauth2.Secret `kong:"aws_secret_access_key,encrypted,referenceable"`
	// Client id of Azure that signs in to Redis.
	AzureClientID string `kong:"azure_client_id,encrypted,referenceable"`
	// Client secret of Azure that signs in to Redis.
	AzureClientSecret oauth2.Secret `kong:"azure_client_secret,encrypted,referenceable"`
	// Tenant of Azure that signs in to Redis.
	AzureTenantID string `kong:"azure_tenant_id,encrypted,referenceable"`
	// Service account of Google Cloud, as JSON, that signs in to Redis.
	GCPServiceAccountJSON oauth2.Secret `kong:"gcp_service_account_json,encrypted,referenceable"`
}
