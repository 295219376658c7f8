package zzagree
