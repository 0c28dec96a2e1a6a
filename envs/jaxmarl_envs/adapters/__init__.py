"""From and to the environments of other projects; each is imported when it is used."""

from jaxmarl_envs.adapters._from_jaxmarl import FromJaxMARL, Reading, from_jaxmarl

__all__ = ["FromJaxMARL", "Reading", "from_jaxmarl"]
