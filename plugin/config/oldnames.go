package config

import "github.com/kong-openid-connect/openid-connect/pkg/oauth2"

// OldNames: deprecated names of other fields. Each is read as the field that replaced it, unless
// that one is set as well; after decoding they are empty.
type OldNames struct {
	// Old name of `authorization_rolling_timeout`.
	AuthorizationCookieLifetime *Seconds `kong:"authorization_cookie_lifetime,replaced=authorization_rolling_timeout"`
	// Old name of `authorization_cookie_same_site`; `off` is read as `Lax`.
	AuthorizationCookieSamesite *OldSameSite `kong:"authorization_cookie_samesite,replaced=authorization_cookie_same_site"`
	// Old name of `authorization_cookie_http_only`.
	AuthorizationCookieHttponly *bool `kong:"authorization_cookie_httponly,replaced=authorization_cookie_http_only"`
	// Old name of `session_rolling_timeout`.
	SessionCookieLifetime *Seconds `kong:"session_cookie_lifetime,replaced=session_rolling_timeout"`
	// Old name of `session_idling_timeout`.
	SessionCookieIdletime *Seconds `kong:"session_cookie_idletime,replaced=session_idling_timeout"`
	// Old name of `session_cookie_same_site`; `off` is read as `Lax`.
	SessionCookieSamesite *OldSameSite `kong:"session_cookie_samesite,replaced=session_cookie_same_site"`
	// Old name of `session_cookie_http_only`.
	SessionCookieHttponly *bool `kong:"session_cookie_httponly,replaced=session_cookie_http_only"`
	// Old name of `session_memcached_prefix`.
	SessionMemcachePrefix *string `kong:"session_memcache_prefix,replaced=session_memcached_prefix"`
	// Old name of `session_memcached_socket`.
	SessionMemcacheSocket *string `kong:"session_memcache_socket,replaced=session_memcached_socket"`
	// Old name of `session_memcached_host`.
	SessionMemcacheHost *string `kong:"session_memcache_host,replaced=session_memcached_host"`
	// Old name of `session_memcached_port`.
	SessionMemcachePort *int `kong:"session_memcache_port,between=0|65535,replaced=session_memcached_port"`
	// Has no effect: sessions renew themselves by `session_rolling_timeout`.
	SessionCookieRenew *Seconds `kong:"session_cookie_renew,replaced="`
	// Has no effect: cookies are split by size.
	SessionCookieMaxsize *int `kong:"session_cookie_maxsize,replaced="`
	// Has no effect: there is one session format.
	SessionStrategy *string `kong:"session_strategy,replaced="`
	// Has no effect: sessions are compressed when it pays.
	SessionCompressor *string `kong:"session_compressor,replaced="`
	// Old name of `redis.prefix`.
	SessionRedisPrefix *string `kong:"session_redis_prefix,replaced=redis.prefix"`
	// Old name of `redis.socket`.
	SessionRedisSocket *string `kong:"session_redis_socket,replaced=redis.socket"`
	// Old name of `redis.host`.
	SessionRedisHost *string `kong:"session_redis_host,replaced=redis.host"`
	// Old name of `redis.port`.
	SessionRedisPort *int `kong:"session_redis_port,between=0|65535,replaced=redis.port"`
	// Old name of `redis.username`.
	SessionRedisUsername *string `kong:"session_redis_username,referenceable,replaced=redis.username"`
	// Old name of `redis.password`.
	SessionRedisPassword *oauth2.Secret `kong:"session_redis_password,encrypted,referenceable,replaced=redis.password"`
	// Old name of `redis.connect_timeout`.
	SessionRedisConnectTimeout *Milliseconds `kong:"session_redis_connect_timeout,integer,between=0|2147483646,replaced=redis.connect_timeout"`
	// Old name of `redis.read_timeout`.
	SessionRedisReadTimeout *Milliseconds `kong:"session_redis_read_timeout,integer,between=0|2147483646,replaced=redis.read_timeout"`
	// Old name of `redis.send_timeout`.
	SessionRedisSendTimeout *Milliseconds `kong:"session_redis_send_timeout,integer,between=0|2147483646,replaced=redis.send_timeout"`
	// Old name of `redis.ssl`.
	SessionRedisSSL *bool `kong:"session_redis_ssl,replaced=redis.ssl"`
	// Old name of `redis.ssl_verify`.
	SessionRedisSSLVerify *bool `kong:"session_redis_ssl_verify,replaced=redis.ssl_verify"`
	// Old name of `redis.server_name`.
	SessionRedisServerName *string `kong:"session_redis_server_name,replaced=redis.server_name"`
	// Old name of `redis.cluster_nodes`.
	SessionRedisClusterNodes []ClusterNode `kong:"session_redis_cluster_nodes,replaced=redis.cluster_nodes"`
	// Old name of `redis.cluster_max_redirections`.
	SessionRedisClusterMaxRedirections *int `kong:"session_redis_cluster_max_redirections,replaced=redis.cluster_max_redirections"`
}
