"""An encoder's vectors put to use: what is near, what is twice there, what is odd, what to label next."""
