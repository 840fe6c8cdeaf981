plugins {
    id("com.android.library") version "8.7.3" apply false
    kotlin("android") version "2.3.0" apply false
    kotlin("jvm") version "2.3.0" apply false
}
