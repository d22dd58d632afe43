-- Whom an OpenID provider means: its issuer, a blank, and its subject (OpenID Connect Core 1.0, section 2). An
-- address alone opens nothing: anybody may have signed up with it. NULL = not linked to a provider.
ALTER TABLE users ADD COLUMN oidc_subject TEXT;

CREATE UNIQUE INDEX users_by_oidc_subject ON users (oidc_subject) WHERE oidc_subject IS NOT NULL;
